-- Standard input and output of a child that is lua itself, in pieces and at once.
local lua = "../src/lua"
assert(io.popen("printf '1 2 3 4' | " .. lua .. " -e 'local s = 0 for x in io.lines(nil, \"n\") do s = s + x end print(s)'"):read("n") == 10)
assert(io.popen(lua .. " -e 'io.write((\"x\"):rep(1 << 20))' | wc -c"):read("n") == 1 << 20)
assert(io.popen(lua .. " - one two <<'E'\nprint(#arg, arg[1], arg[2])\nE"):read("l") == "2\tone\ttwo")
assert(io.popen(lua .. " -e 'io.stderr:write(\"e\") os.exit(3)' 2>&1; echo $?"):read("a") == "e3\n")
assert(io.popen("echo 'print(...)' | " .. lua .. " - a 2>/dev/null"):read("a") == "a\n")
assert(io.popen(lua .. " -e 'print(io.read(\"a\"))' </dev/null"):read("a") == "\n")
assert(io.popen(lua .. " -v"):read("l"):find("^Lua 5%.4"))
assert(io.popen(lua .. " -i </dev/null 2>&1 | grep -c '^> '"):read("n") == 1)
