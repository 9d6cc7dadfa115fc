-- Compiling: dump and load, luac's output, require from a file made just before.
local f = assert(load(string.dump(function(x) return x * 6 end)))
assert(f(7) == 42)
local dir = os.tmpname() os.remove(dir)
assert(os.execute("mkdir " .. dir))
local m = assert(io.open(dir .. "/mod.lua", "w"))
m:write("return { answer = 42, name = ..., where = select(2, ...) }") m:close()
package.path = dir .. "/?.lua"
local mod = require "mod"
assert(mod.answer == 42 and mod.name == "mod" and mod.where == dir .. "/mod.lua")
assert(os.execute("../src/luac -s -o " .. dir .. "/mod.out " .. dir .. "/mod.lua"))
assert(loadfile(dir .. "/mod.out", "b")("x").answer == 42)
assert(not loadfile(dir .. "/mod.out", "t"))
assert(not loadfile(dir .. "/none.lua"))
assert(io.popen("../src/lua -e 'print(1 << 40)' 2>&1"):read("n") == 1 << 40)
assert(io.popen("../src/lua " .. dir .. "/none.lua 2>&1"):read("a"):find("cannot open"))
assert(os.execute("rm -r " .. dir))
