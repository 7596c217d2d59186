-- Admits one request for all its subjects, or for none.
-- KEYS: per subject a GCRA clock, a token window, a set of leases.
-- ARGV: now_us (0: the server's clock), lease, lease_us, tokens; per subject the limits
--       requests/min, tokens/h, concurrent (0: none).
-- Returns {1, minute, subject's limits and what is left of the tightest ...} or
--         {0, kind, limit, retry_us (-1: never), what is left, us until all is free again}.

local now = clock(ARGV[1])
local lease, lease_us, tokens = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local minute = math.floor(now / MINUTE)
local subjects = #KEYS / 3
local clocks, windows = {}, {}

-- When will the oldest buckets have given back what is missing?
local function wait_for(key, missing)
  for old = minute - KEPT + 1, minute do
    missing = missing - tonumber(redis.call('HGET', key, old) or 0)
    if missing <= 0 then return (old + KEPT) * MINUTE - now end
  end
  return -1
end

for i = 1, subjects do
  local clock_key, window_key, lease_key = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  local rpm, tph = tonumber(ARGV[3 * i + 2]), tonumber(ARGV[3 * i + 3])
  local concurrent = tonumber(ARGV[3 * i + 4])

  if concurrent > 0 then
    redis.call('ZREMRANGEBYSCORE', lease_key, '-inf', now)
    if redis.call('ZCARD', lease_key) >= concurrent then
      return {0, 'concurrency', concurrent, 1000000, 0, 0}
    end
  end
  if rpm > 0 then
    local interval = math.max(1, math.floor(MINUTE / rpm))
    local free_at = math.max(tonumber(redis.call('GET', clock_key) or 0), now) + interval
    if free_at - now > interval * rpm then
      local full_us = free_at - now - interval
      return {0, 'requests', rpm, free_at - now - interval * rpm, 0, full_us}
    end
    clocks[i] = free_at
  end
  if tph > 0 then
    windows[i] = used(window_key, minute)
    local missing = windows[i] + tokens - tph
    if missing > 0 then
      local wait_us = tokens > tph and -1 or wait_for(window_key, missing)
      local reset_us = windows[i] > 0 and (minute + KEPT) * MINUTE - now or 0
      return {0, 'tokens', tph, wait_us, tph - windows[i], reset_us}
    end
  end
end

local answer = {1, minute, 0, 0, 0, 0, 0, 0}
for i = 1, subjects do
  local clock_key, window_key, lease_key = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  local rpm, tph = tonumber(ARGV[3 * i + 2]), tonumber(ARGV[3 * i + 3])

  redis.call('ZADD', lease_key, now + lease_us, lease)
  redis.call('PEXPIRE', lease_key, math.ceil(lease_us / 500))
  if clocks[i] then
    local full_us = clocks[i] - now
    redis.call('SET', clock_key, string.format('%.0f', clocks[i]), 'PX', math.ceil(full_us / 1000))
    local interval = math.max(1, math.floor(MINUTE / rpm))
    local left = math.floor((interval * rpm - full_us) / interval)
    if answer[3] == 0 or left < answer[4] then
      answer[3], answer[4], answer[5] = rpm, left, full_us
    end
  end
  if windows[i] then
    if tokens > 0 then add(window_key, minute, tokens) end
    local left = tph - windows[i] - tokens
    if answer[6] == 0 or left < answer[7] then
      answer[6], answer[7] = tph, left
      answer[8] = left < tph and (minute + KEPT) * MINUTE - now or 0
    end
  end
end
return answer
