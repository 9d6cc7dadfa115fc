-- The language itself: strings, tables, coroutines, errors, the collector.
local t = {}
for i = 1, 1e5 do t[i] = (i * 7919) % 100003 end
table.sort(t)
for i = 2, #t do assert(t[i - 1] <= t[i]) end
local co = coroutine.wrap(function() for i = 1, 1000 do coroutine.yield(i) end end)
local sum = 0
for i in co do sum = sum + i if i == 1000 then break end end
assert(sum == 500500)
assert(("%5.2f|%q|%x"):format(math.pi, "a\nb", 255) == " 3.14|\"a\\\nb\"|ff")
assert(("key = value"):match("^(%w+)%s*=%s*(%w+)$") == "key")
assert(utf8.len("naïve") == 5 and ("x"):rep(3, ",") == "x,x,x")
assert(string.unpack("<i4", string.pack("<i4", -2)) == -2)
local ok, e = pcall(error, { code = 5 })
assert(not ok and e.code == 5)
local weak = setmetatable({}, { __mode = "v" })
weak[1] = {}
collectgarbage()
assert(weak[1] == nil)
local closed = {}
do local x <close> = setmetatable({}, { __close = function() closed[1] = true end }) end
assert(closed[1])
assert(math.maxinteger + 1 == math.mininteger and 7 // -2 == -4 and 2 ^ 53 == 9007199254740992.0)
assert(os.date("!%Y-%m-%d", 0) == "1970-01-01")
