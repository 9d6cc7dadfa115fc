# What the cases written for a shell share; dash has to understand it.

# until_ CMD: looks until it succeeds, 10 s at most.
until_() {
	n=0
	while ! eval "$1"; do
		n=$((n + 1))
		[ $n -lt 1000 ] || { echo "TIMEOUT: $1"; exit 98; }
		sleep 0.01
	done
}

# state PID: the letter that ps shows.
state() {
	read -r line_ <"/proc/$1/stat" || return
	line_=${line_##*) }
	echo "${line_%% *}"
}

# trace: notes whether this process runs elsewhere.
trace() { case $(tr "\0" " " </proc/1/cmdline) in onehost-nest*) echo elsewhere >>"$SEM_TRACE" ;; esac; }
