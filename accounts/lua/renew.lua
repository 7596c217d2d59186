-- Keeps leases alive. KEYS: sets of leases. ARGV: now_us (0: the server's clock), lease_us, then
-- one lease per key.

local now, lease_us = clock(ARGV[1]), tonumber(ARGV[2])
for i = 1, #KEYS do
  redis.call('ZADD', KEYS[i], now + lease_us, ARGV[i + 2])
  redis.call('PEXPIRE', KEYS[i], math.ceil(lease_us / 500))
end
return #KEYS
