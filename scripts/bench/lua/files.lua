-- Files: writing, reading back, seeking, appending, renaming, removing, and what must fail.
local name = os.tmpname()
local f <close> = assert(io.open(name, "w+"))
for i = 1, 20000 do assert(f:write(i, "\n")) end
assert(f:seek("set", 0) == 0)
local n = 0
for l in f:lines("n") do n = n + l end
assert(n == 20000 * 20001 / 2)
f:close()
local a = assert(io.open(name, "a"))
a:setvbuf("no")
assert(a:seek("end") == #io.open(name):read("a"))
a:write("end") a:close()
assert(io.open(name):read("a"):sub(-4) == "\nend")
local u = assert(io.open(name, "r+"))
assert(u:seek("set", 3)) u:write("XY") u:seek("cur", 0)
assert(u:read(1) == "\n") -- 1 \n 2 X Y \n: what follows the two bytes is the line end of the fourth
u:close()
assert(os.rename(name, name .. ".2"))
assert(not io.open(name))
assert(select(3, io.open(name)) == 2, "ENOENT")
assert(os.remove(name .. ".2"))
assert(not os.remove(name .. ".2"))
assert(select(3, io.open("/nowhere/at/all", "w")) == 2)
local t = assert(io.tmpfile())
t:write(("z"):rep(3 << 20)) t:seek("set", (3 << 20) - 1)
assert(t:read("a") == "z")
