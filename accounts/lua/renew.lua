-- Keeps leases alive. KEYS: sets of leases. ARGV: now_us (0: the server's clock), lease_us, then
-- one lease per key. XX: a lease that was given back while this was under way stays away.

local now, lease_us = clock(ARGV[1]), tonumber(ARGV[2])
for i = 1, #KEYS do
  redis.call('ZADD', KEYS[i], 'XX', now + lease_us, ARGV[i + 2])
  redis.call('PEXPIRE', KEYS[i], math.ceil(lease_us / 500))
end
return #KEYS
