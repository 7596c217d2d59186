-- Shared by all scripts: the clock, and a sliding hour of tokens in buckets of a minute.
-- A bucket counts until it is 61 minutes old, so no 60 minutes ever hold more than the limit.

local MINUTE = 60000000 -- microseconds
local KEPT = 61 -- buckets
local TOKEN_TTL_MS = 62 * 60 * 1000

local function clock(given)
  if tonumber(given) > 0 then return tonumber(given) end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- Forgets old buckets and returns the tokens that still count.
local function used(key, minute)
  local row = redis.call('HMGET', key, 'total', 'pruned')
  local total, pruned = tonumber(row[1] or 0), tonumber(row[2] or minute)
  if minute - pruned >= KEPT then
    redis.call('DEL', key)
    return 0
  end
  for old = pruned - KEPT + 1, minute - KEPT do
    local tokens = redis.call('HGET', key, old)
    if tokens then
      total = total - tokens
      redis.call('HDEL', key, old)
    end
  end
  if minute > pruned then redis.call('HSET', key, 'total', total, 'pruned', minute) end
  return total
end

local function add(key, minute, tokens)
  redis.call('HINCRBY', key, minute, tokens)
  redis.call('HINCRBY', key, 'total', tokens)
  redis.call('HSETNX', key, 'pruned', minute)
  redis.call('PEXPIRE', key, TOKEN_TTL_MS)
end
