-- Takes from several limits at once, or from none. KEYS: one for each limit. ARGV: what to do ("take" or "charge"), then for
-- each limit its kind (b: token bucket, s: sliding window, f: fixed window), units, period in microseconds, burst, cost, and 1
-- where its refusal does not matter. Replies for each: allowed, remaining, reset and wait in microseconds (-1: unknown).
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local parts = 100

local function bucket(key, l)
  local unit = l.period / l.units
  local full = math.max(tonumber(redis.call('GET', key) or '0') or 0, now)
  local room = l.burst * unit - (full - now)
  -- Sums of fractions may miss the last bit of a unit.
  l.remaining = math.max(0, math.floor(room / unit + 0.000001))
  l.allowed = l.cost <= room / unit + 0.000001
  l.wait = l.cost > l.burst and -1 or l.cost * unit - room
  l.reset = full - now
  l.charge = function(cost)
    full = math.max(now, full + cost * unit)
    if full > now then
      redis.call('SET', key, string.format('%.6f', full), 'PX', math.ceil((full - now) / 1000) + 1)
    else
      redis.call('DEL', key)
    end
    l.reset = full - now
    l.remaining = math.max(0, math.floor((l.burst * unit - l.reset) / unit + 0.000001))
  end
end

local function fixed(key, l)
  local start = now - now % l.period
  local found = redis.call('HMGET', key, 'start', 'used')
  local used = (tonumber(found[1] or '-1') == start) and tonumber(found[2]) or 0
  l.remaining = math.max(0, l.units - used)
  l.allowed = l.cost <= l.units - used
  l.reset = start + l.period - now
  l.wait = l.cost > l.units and -1 or l.reset
  l.charge = function(cost)
    used = math.max(0, used + cost)
    redis.call('HSET', key, 'start', string.format('%.0f', start), 'used', string.format('%.0f', used))
    redis.call('PEXPIRE', key, math.ceil(l.reset / 1000) + 1)
    l.remaining = math.max(0, l.units - used)
  end
end

-- The window in parts: what was taken in one of them leaves when all of it has left.
local function sliding(key, l)
  local width = l.period / parts
  local part = math.floor(now / width)
  local found = redis.call('HMGET', key, 'used', 'first')
  local used, first = tonumber(found[1] or '0') or 0, tonumber(found[2] or part) or part
  if part - first > 2 * parts then
    redis.call('DEL', key)
    used, first = 0, part
  end
  local function name(number) return string.format('%.0f', number) end
  while first < part - parts do
    local units = redis.call('HGET', key, name(first))
    if units then
      used = used - tonumber(units)
      redis.call('HDEL', key, name(first))
    end
    first = first + 1
  end
  l.remaining = math.max(0, l.units - used)
  l.allowed = l.cost <= l.units - used
  l.reset = used > 0 and l.period + width - (now - part * width) or 0
  l.wait = -1
  if not l.allowed and l.cost <= l.units then
    local missing, at = l.cost - (l.units - used), first
    while at <= part and missing > 0 do
      missing = missing - tonumber(redis.call('HGET', key, name(at)) or '0')
      at = at + 1
    end
    l.wait = (at + parts) * width - now
  end
  l.charge = function(cost)
    if cost < 0 then cost = math.max(cost, -used) end
    redis.call('HINCRBY', key, name(part), cost)
    used = used + cost
    redis.call('HSET', key, 'used', name(used), 'first', name(first))
    redis.call('PEXPIRE', key, math.ceil(l.period * (parts + 2) / parts / 1000) + 1)
    l.remaining = math.max(0, l.units - used)
    l.reset = l.period + width - (now - part * width)
  end
end

local kinds = { b = bucket, s = sliding, f = fixed }
local all, limits = true, {}
for i = 1, #KEYS do
  local o = (i - 1) * 6 + 1
  local l = {
    units = tonumber(ARGV[o + 2]), period = tonumber(ARGV[o + 3]), burst = tonumber(ARGV[o + 4]), cost = tonumber(ARGV[o + 5]),
  }
  kinds[ARGV[o + 1]](KEYS[i], l)
  if ARGV[1] == 'charge' then l.allowed = true end
  all = all and (l.allowed or ARGV[o + 6] == '1')
  limits[i] = l
end
local replies = {}
for _, l in ipairs(limits) do
  if all and l.allowed and l.cost ~= 0 then l.charge(l.cost) end
  replies[#replies + 1] = l.allowed and 1 or 0
  replies[#replies + 1] = l.remaining
  replies[#replies + 1] = math.ceil(math.max(0, l.reset))
  replies[#replies + 1] = l.allowed and 0 or math.ceil(l.wait)
end
return replies
