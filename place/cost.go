package place

import "math"

// Work is what is known of a command before it runs.
type Work struct {
	Kind  string // commands of one kind cost alike: the program, and what it is told to do
	Bytes int64  // size of the sources that it names
	Moves int64  // size of the objects and archives that it names, which another host has to fetch
}

// What a command is taken to cost, in CPU seconds, until others of its kind have ended: a C file of redis by gcc -O2 -g. Only
// the ratio of base to slope matters for placing, and it is much the same everywhere.
const (
	baseCost = 0.25 // starting, and the headers that every file includes
	byteCost = 1e-5 // for each byte of source: 1 s per 100 kB
)

const (
	priorWeight = 2    // how many ended commands the numbers above count as
	forget      = 0.97 // weight left to what was learned when the next command has ended: the last 30 or so count
	maxKinds    = 512  // kinds remembered; one more, and all begins anew
	maxKind     = 256  // bytes of a kind's name; what has a longer one is not remembered
)

// Costs estimates what commands cost from those that have ended: for each kind a straight line over the size of the sources, by
// least squares in which older commands count less. It is not safe for use by several goroutines at once.
type Costs struct{ kinds map[string]*line }

// line is a least-squares fit of y = a + b x by its sums, x in units of 100 kB, which keeps the sums of one magnitude.
type line struct{ n, x, y, xx, xy float64 }

const unit = 1e5

// NewCosts knows nothing yet.
func NewCosts() *Costs { return &Costs{kinds: map[string]*line{}} }

// Estimate gives CPU seconds, more than 0.
func (c *Costs) Estimate(w Work) float64 {
	l := c.kinds[w.Kind]
	if l == nil {
		l = prior()
	}
	return l.at(float64(max(0, w.Bytes)) / unit)
}

// Learn takes what a command used in CPU seconds, its whole tree. What makes no sense is left out.
func (c *Costs) Learn(w Work, seconds float64) {
	if !(seconds >= 0) || seconds > 1e6 || w.Bytes < 0 || len(w.Kind) > maxKind {
		return
	}
	l := c.kinds[w.Kind]
	if l == nil {
		if len(c.kinds) >= maxKinds {
			clear(c.kinds)
		}
		l = prior()
		c.kinds[w.Kind] = l
	}
	l.add(float64(w.Bytes)/unit, seconds)
}

// prior is a line through the costs assumed at two sizes, of little weight.
func prior() *line {
	l := &line{}
	for _, x := range []float64{0, 1} {
		for range priorWeight {
			l.add(x, baseCost+byteCost*unit*x)
		}
	}
	return l
}

func (l *line) add(x, y float64) {
	l.n, l.x, l.y, l.xx, l.xy = l.n*forget+1, l.x*forget+x, l.y*forget+y, l.xx*forget+x*x, l.xy*forget+x*y
}

// at is the cost at x. A line that falls, or for which all sizes were the same, says nothing of size: then it is the mean.
func (l *line) at(x float64) float64 {
	const least = 1e-3
	mean := l.y / l.n
	spread := l.xx - l.x*l.x/l.n
	if spread < 1e-6*l.xx {
		return math.Max(least, mean)
	}
	slope := (l.xy - l.x*l.y/l.n) / spread
	if !(slope > 0) {
		return math.Max(least, mean)
	}
	return math.Max(least, mean+slope*(x-l.x/l.n))
}
