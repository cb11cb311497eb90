-- One tick of one instance over the counters of one slot, atomically.
--
-- What an instance holds of a counter is kept as a whole, never as a difference: a call that is
-- repeated, or whose answer was lost, does no harm, and a store that forgot everything learns it
-- again from the next calls. While that may be so (the settling time) nobody is given anything.
--
-- KEYS: the slot's own hash, then a key per counter.
-- ARGV: instance, settling ms, life of an instance ms; then eleven per counter:
--   kind, limit, held, busy (of that, in use), want, need and least (the most and the least that one
--   request lacked), mark, ms, known, alone (1 where it has spent without being asked).
--     w (window): mark of the window that the units are of ("0": none that is known here), its ms left
--     p (calls at once)
--     m (money): mark of the epoch, ms is what was spent since, known the total before, or what the database
--       has where that is more
-- Answer: settling (1 or 0), members; then seven per counter: granted, free, room (free when all have given
-- back what they do not use), calm (1 where the others use nothing), scarce, mark, ms.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local me = ARGV[1]
local settling_ms, life_ms = tonumber(ARGV[2]), tonumber(ARGV[3])
local function text(number) return string.format('%.0f', number) end
local function map(key)
  local flat, found = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

local slot, members, alive = map(KEYS[1]), 0, {}
local beat, settle = tonumber(slot['beat'] or '0'), tonumber(slot['settle'] or '0')
if now - beat > life_ms / 2 then settle = now + settling_ms end
slot['m:' .. me] = text(now)
for field, seen in pairs(slot) do
  if string.sub(field, 1, 2) == 'm:' then
    if now - tonumber(seen) < life_ms then
      members = members + 1
      alive[string.sub(field, 3)] = true
    else
      redis.call('HDEL', KEYS[1], field)
    end
  end
end
redis.call('HSET', KEYS[1], 'beat', text(now), 'settle', text(settle), 'm:' .. me, text(now))
redis.call('PEXPIRE', KEYS[1], 3600000)
local settling = now < settle
local answer = { settling and 1 or 0, members }

local at = 4
for i = 2, #KEYS do
  local key, kind = KEYS[i], ARGV[at]
  local limit, held, busy = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local want, need, least = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
  local mark, ms, known = ARGV[at + 7], tonumber(ARGV[at + 8]), tonumber(ARGV[at + 9])
  local alone = ARGV[at + 10] == '1'
  at = at + 11
  local found, total, free, granted = map(key), 0, 0, 0
  local others, others_idle = 0, 0
  local is_new = next(found) == nil
  if kind == 'w' then
    if is_new and (want > 0 or held > 0) then
      mark, found['w'] = text(now), text(now)
      redis.call('HSET', key, 'w', mark)
      redis.call('PEXPIRE', key, ms)
    elseif not is_new then
      if mark ~= '0' and mark ~= found['w'] then held = 0 end
      mark, ms = found['w'], redis.call('PTTL', key)
    end
  elseif kind == 'm' then
    if is_new then
      found['e'] = text(now)
      redis.call('HSET', key, 'e', found['e'])
    end
    total = tonumber(found['b'] or '0')
    for field, value in pairs(found) do
      local whose, who = string.sub(field, 1, 2), string.sub(field, 3)
      if whose == 's:' then total = total + tonumber(value) end
      if whose == 'h:' and not alive[who] and not settling then
        redis.call('HDEL', key, field, 'i:' .. who)
        found[field] = nil
      end
    end
    local mine, joined = tonumber(found['s:' .. me] or '0'), false
    if mark == '0' and settling then
      -- What it knows to be spent may be what others have not told yet: it comes later.
      ms = mine
    elseif mark ~= found['e'] then
      -- It has just come: what it knew to be spent holds, its own count begins, or has when it was alone.
      if known > total and (is_new or mark ~= '0') then
        redis.call('HINCRBYFLOAT', key, 'b', text(known - total))
        total = known
      end
      if mark ~= '0' or ms <= 0 then ms = mine end
      mark, joined = found['e'], true
    end
    if ms ~= mine then redis.call('HSET', key, 's:' .. me, text(ms)) end
    total = total - mine + ms
    -- What the database has beyond that was spent by instances that do not reach this store, until
    -- they tell it themselves.
    local untold = tonumber(found['u'] or '0')
    local before = untold
    local news = math.max(ms - mine, 0)
    if joined or not alone and mark ~= '0' then
      untold = math.max(untold, known - total + (alone and news or 0))
    end
    if alone then untold = math.max(untold - news, 0) end
    if untold ~= before then redis.call('HSET', key, 'u', text(untold)) end
    total = total + untold
    ms = total
  end
  for field, value in pairs(found) do
    local whose, who = string.sub(field, 1, 2), string.sub(field, 3)
    if whose == 'h:' and who ~= me then
      if kind == 'p' and not alive[who] and not settling then
        redis.call('HDEL', key, field, 'i:' .. who)
      else
        others = others + tonumber(value)
        if alive[who] then others_idle = others_idle + tonumber(found['i:' .. who] or '0') end
      end
    end
  end
  free = limit - total - others - held
  local idle = math.max(held - busy, 0)
  local room = free + idle + others_idle
  if free > 0 and want > 0 and not settling then
    -- What one request lacks beside what is idle here; less would serve nobody, unless another lacks less.
    local lacks, fair = math.max(need - idle, 0), math.ceil(free / members)
    if free < lacks then lacks = math.max(least - idle, 0) end
    if free >= lacks then
      granted = math.min(want, free, math.max(fair, lacks))
    elseif kind == 'm' and others == 0 then
      -- All that is left, for the last call.
      granted = free
    end
  end
  if held + granted ~= 0 then
    redis.call('HSET', key, 'h:' .. me, text(held + granted), 'i:' .. me, text(idle + granted))
  elseif found['h:' .. me] then
    redis.call('HDEL', key, 'h:' .. me, 'i:' .. me)
  end
  local scarce = tonumber(found['scarce'] or '0')
  if granted < want and not settling then
    scarce = now
    redis.call('HSET', key, 'scarce', text(now))
  end
  if kind ~= 'w' then redis.call('PEXPIRE', key, 3600000) end
  free = math.max(free - granted, 0)
  answer[#answer + 1] = text(granted)
  answer[#answer + 1] = text(free)
  answer[#answer + 1] = text(room)
  answer[#answer + 1] = others == others_idle and '1' or '0'
  answer[#answer + 1] = now - scarce < 200 and '1' or '0'
  answer[#answer + 1] = mark
  answer[#answer + 1] = text(ms)
end
return answer
