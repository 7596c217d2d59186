-- Admits one request for all its subjects, or for none.
-- KEYS: per subject a GCRA clock, a token window, a set of leases.
-- ARGV: now_us (0: the server's clock), lease, lease_us (0: no place is taken), tokens, most, least; per subject the limits
--       requests/min, tokens/h, concurrent (0: none).
-- Returns {1 or 0, minute, limit, left and us until all is free of the tightest requests/min (0: none),
--          the same of tokens/h} and, with 1, the tokens that were reserved; with 0, what lasts longest of what stands in the way:
--         {kind, number of the subject, limit, wait_us (-1: never)}.

local now = clock(ARGV[1])
local lease, lease_us, tokens = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local grant, least = tonumber(ARGV[5]), tonumber(ARGV[6])
local minute = math.floor(now / MINUTE)
local subjects = #KEYS / 3
local states, worst = {}, nil

-- When will the oldest buckets have given back what is missing?
local function wait_for(key, missing)
  for old = minute - KEPT + 1, minute do
    missing = missing - tonumber(redis.call('HGET', key, old) or 0)
    if missing <= 0 then return (old + KEPT) * MINUTE - now end
  end
  return -1
end

local function stands(kind, i, limit, wait_us)
  if worst and (worst[4] < 0 or (wait_us >= 0 and wait_us <= worst[4])) then return end
  worst = {kind, i, limit, wait_us}
end

for i = 1, subjects do
  local clock_key, window_key, lease_key = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  local rpm, tph = tonumber(ARGV[3 * i + 4]), tonumber(ARGV[3 * i + 5])
  local concurrent = tonumber(ARGV[3 * i + 6])
  local state = {rpm = rpm, tph = tph}

  if concurrent > 0 then
    redis.call('ZREMRANGEBYSCORE', lease_key, '-inf', now)
    if redis.call('ZCARD', lease_key) >= concurrent then
      stands('concurrency', i, concurrent, 1000000)
    end
  end
  if rpm > 0 then
    state.interval = math.max(1, math.floor(MINUTE / rpm))
    state.ahead = math.max(tonumber(redis.call('GET', clock_key) or 0), now) - now
    local over_us = state.ahead + state.interval - state.interval * rpm
    if over_us > 0 then stands('requests', i, rpm, over_us) end
  end
  if tph > 0 then
    state.used = used(window_key, minute)
    local missing = state.used + tokens - tph
    grant = math.min(grant, tph - state.used)
    if tokens > tph and least > tph then
      stands('tokens', i, tph, -1)
    elseif tokens > tph then -- alone in an hour, or not at all
      if state.used > 0 then stands('tokens', i, tph, wait_for(window_key, state.used)) end
    elseif missing > 0 then
      stands('tokens', i, tph, wait_for(window_key, missing))
    end
  end
  states[i] = state
end

local answer = {worst and 0 or 1, minute, 0, 0, 0, 0, 0, 0}
for i = 1, subjects do
  local clock_key, window_key, lease_key = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  local state = states[i]

  if not worst then
    if lease_us > 0 then
      redis.call('ZADD', lease_key, now + lease_us, lease)
      redis.call('PEXPIRE', lease_key, math.ceil(lease_us / 500))
    end
    if state.ahead then
      state.ahead = state.ahead + state.interval
      redis.call('SET', clock_key, string.format('%.0f', now + state.ahead), 'PX', math.ceil(state.ahead / 1000))
    end
    if state.used and grant > 0 then
      add(window_key, minute, grant)
      state.used = state.used + grant
    end
  end
  if state.ahead then
    local left = math.max(0, math.floor((state.interval * state.rpm - state.ahead) / state.interval))
    if answer[3] == 0 or left < answer[4] then
      answer[3], answer[4], answer[5] = state.rpm, left, state.ahead
    end
  end
  if state.used then
    local left = math.max(0, state.tph - state.used)
    if answer[6] == 0 or left < answer[7] then
      answer[6], answer[7] = state.tph, left
      answer[8] = state.used > 0 and (minute + KEPT) * MINUTE - now or 0
    end
  end
end
if worst then
  for n = 1, 4 do answer[8 + n] = worst[n] end
else
  answer[9] = grant
end
return answer
