-- Ends a lease: frees its slot and puts the tokens really used in place of the reserved ones.
-- KEYS: per subject a token window and a set of leases.
-- ARGV: now_us (0: the server's clock), lease, reserved, minute of the reservation, used.

local minute = math.floor(clock(ARGV[1]) / MINUTE)
local lease, reserved, reserved_at = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local spent = tonumber(ARGV[5])

for i = 1, #KEYS / 2 do
  local window_key = KEYS[2 * i - 1]
  redis.call('ZREM', KEYS[2 * i], lease)
  used(window_key, minute)
  local there = tonumber(redis.call('HGET', window_key, reserved_at) or 0)
  if reserved > 0 and there >= reserved then add(window_key, reserved_at, -reserved) end
  if spent > 0 then add(window_key, minute, spent) end
end
return 1
