-- Children: popen both ways, statuses, signals, the environment.
local p = assert(io.popen("for i in 1 2 3; do echo $i; done; exit 7"))
assert(p:read("a") == "1\n2\n3\n")
local ok, how, code = p:close()
assert(not ok and how == "exit" and code == 7)
local name = os.tmpname()
local w = assert(io.popen("cat >" .. name, "w"))
for i = 1, 5000 do w:write("line ", i, "\n") end
assert(w:close())
local n = 0
for _ in io.lines(name) do n = n + 1 end
assert(n == 5000)
os.remove(name)
local ok2, how2, sig = os.execute("kill -TERM $$")
assert(not ok2 and how2 == "signal" and sig == 15)
assert(os.execute("true") == true)
assert(io.popen("echo $HOME"):read("l") == os.getenv("HOME"))
assert(io.popen("seq 100000 | wc -l"):read("n") == 100000)
assert(os.clock() >= 0 and os.time() > 1.6e9)
