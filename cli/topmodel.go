package cli

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"github.com/onehost/onehost/names"
)

// framesPerSecond is how often at most the screen is drawn: fewer wake up less.
const framesPerSecond = 15

// topScreen shows samples on the terminal until the person or ctx ends it. It leaves the terminal as it was, however it ends.
func (a *app) topScreen(ctx context.Context, o *topOptions, watch *watcher, first *sample) error {
	m, err := newTopModel(o, first)
	if err != nil {
		return err
	}
	m.colored = a.colored(a.env.Stdout, o.noColor)
	m.look = func() *sample { return watch.look(ctx) }
	m.send = func(signal int, row *psRow) string { return a.killWords(ctx, signal, row) }
	profile := colorprofile.ANSI
	if !m.colored {
		profile = colorprofile.ASCII
	}
	p := tea.NewProgram(m, tea.WithInput(a.env.Stdin), tea.WithOutput(a.env.Stdout), tea.WithoutSignalHandler(),
		tea.WithEnvironment([]string{"TERM=" + a.env.Getenv("TERM")}), tea.WithColorProfile(profile), tea.WithFPS(framesPerSecond))
	defer context.AfterFunc(ctx, p.Quit)() // not by its own context: killed, it closes its input while that is being read
	_, err = p.Run()
	return err
}

// What the keys mean at the moment.
type topMode int

const (
	topList    topMode = iota
	topHelp            // the page of keys
	topFilter          // a text is typed
	topSignal          // the name of a signal is typed
	topConfirm         // y sends it
)

// topModel is the state of the screen; it does no I/O but by look and send, which run beside it.
type topModel struct {
	every   time.Duration
	look    func() *sample
	send    func(signal int, row *psRow) string
	colored bool

	width, height int
	sample        *sample
	rows          []*psRow // what the filter leaves of the sample, in order
	columns       []psField
	key           string // the column it is ordered by
	falling       bool
	mode          topMode
	filter        string
	typed         string // in the modes in which something is
	chosen        names.Pid
	at, top       int    // the chosen row, and the first on the screen
	victim        *psRow // whom a signal is for
	signal        int
	say           string // the last line, until the next key
	left          int    // samples still to show; 0: no end
}

// Messages to the model.
type (
	topSample struct{ s *sample }
	topTick   struct{}
	topSaid   string
)

func newTopModel(o *topOptions, first *sample) (*topModel, error) {
	columns, err := psColumns([]string{topColumns})
	if err != nil {
		return nil, err
	}
	key, _, _ := strings.Cut(o.order, ",")
	key, falling := strings.CutPrefix(key, "-")
	m := &topModel{every: o.every(), columns: columns, key: strings.TrimPrefix(key, "+"), falling: falling, width: 80, height: 24, left: o.times}
	m.take(first)
	return m, nil
}

func (m *topModel) Init() tea.Cmd {
	return m.later()
}

func (m *topModel) later() tea.Cmd {
	return tea.Tick(m.every, func(time.Time) tea.Msg { return topTick{} })
}

func (m *topModel) ask() tea.Cmd { return func() tea.Msg { return topSample{m.look()} } }

// Update takes a message, as tea.Model wants it.
func (m *topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case topTick:
		if m.left--; m.left == 0 {
			return m, tea.Quit
		}
		return m, m.ask()
	case topSample:
		m.take(msg.s)
		return m, m.later()
	case topSaid:
		m.say = string(msg)
	case tea.KeyPressMsg:
		return m, m.press(msg)
	case tea.PasteMsg:
		if m.mode == topFilter || m.mode == topSignal {
			m.insert(msg.Content)
		}
	}
	m.scroll()
	return m, nil
}

// take takes a new sample; if it could not be had the old one stays.
func (m *topModel) take(s *sample) {
	if s.err != nil {
		m.say = s.err.Error()
		return
	}
	if m.sample != nil && m.sample.err == nil && strings.HasPrefix(m.say, "onehostd") {
		m.say = ""
	}
	m.sample = s
	m.arrange()
}

// arrange filters and orders the rows, and finds the chosen one again.
func (m *topModel) arrange() {
	m.rows = m.rows[:0]
	want := strings.ToLower(m.filter)
	for _, r := range m.sample.rows {
		if want == "" || strings.Contains(strings.ToLower(r.Command), want) || strings.Contains(strings.ToLower(r.User), want) ||
			strings.Contains(r.Name, want) || string(r.Host) == want {
			m.rows = append(m.rows, r)
		}
	}
	key := m.key
	if m.falling {
		key = "-" + key
	}
	if order, err := psOrder(key); err == nil {
		slices.SortFunc(m.rows, order)
	}
	if i := slices.IndexFunc(m.rows, func(r *psRow) bool { return r.Pid == m.chosen }); i >= 0 {
		m.at = i
	} else {
		m.chosen = 0 // it is gone: whoever stands there now was not chosen by anybody
	}
	m.scroll()
}

// scroll keeps the chosen row on the screen. As long as none was chosen the list stays at its top.
func (m *topModel) scroll() {
	n := m.listHeight()
	m.at = max(0, min(m.at, len(m.rows)-1))
	if m.chosen == 0 {
		m.at = min(m.at, m.top+n-1)
	}
	switch {
	case m.at < m.top:
		m.top = m.at
	case m.at >= m.top+n:
		m.top = m.at - n + 1
	}
	m.top = max(0, min(m.top, len(m.rows)-n))
}

// move chooses another row.
func (m *topModel) move(by int) {
	if len(m.rows) == 0 {
		return
	}
	if m.chosen != 0 || by > 1 || by < -1 {
		m.at += by
	}
	m.at = max(0, min(m.at, len(m.rows)-1))
	m.chosen = m.rows[m.at].Pid
}

// press does what a key is for.
func (m *topModel) press(k tea.KeyPressMsg) tea.Cmd {
	if k.String() == "ctrl+c" {
		return tea.Quit
	}
	if m.mode == topList {
		m.say = ""
	}
	defer m.scroll()
	switch m.mode {
	case topHelp:
		m.mode = topList
	case topFilter, topSignal:
		return m.typing(k)
	case topConfirm:
		m.mode = topList
		if k.String() != "y" && k.String() != "Y" {
			m.say = "nothing was sent"
			return nil
		}
		row, signal := m.victim, m.signal
		return func() tea.Msg { return topSaid(m.send(signal, row)) }
	default:
		return m.command(k.String())
	}
	return nil
}

// command carries out a key of the list.
func (m *topModel) command(key string) tea.Cmd {
	switch key {
	case "q":
		return tea.Quit
	case "ctrl+z":
		return tea.Suspend
	case "h", "?", "f1":
		m.mode = topHelp
	case "up":
		m.move(-1)
	case "down":
		m.move(1)
	case "pgup":
		m.move(-m.listHeight())
	case "pgdown":
		m.move(m.listHeight())
	case "home":
		m.move(-len(m.rows) - 1)
	case "end":
		m.move(len(m.rows) + 1)
	case "esc":
		m.filter, m.chosen, m.at, m.top = "", 0, 0, 0
		m.arrange()
	case "/", "f":
		m.mode, m.typed = topFilter, m.filter
	case "k":
		if len(m.rows) == 0 || m.chosen == 0 {
			m.say = "choose a process first, with the arrow keys"
			return nil
		}
		m.mode, m.typed, m.victim = topSignal, "", m.rows[m.at]
	case "R":
		m.falling = !m.falling
		m.arrange()
	default:
		if by, ok := sortKeys[key]; ok {
			m.key, m.falling = strings.CutPrefix(by, "-")
			if !m.falling {
				m.key = by
			}
			m.arrange()
		}
	}
	return nil
}

// sortKeys are the keys that order the list, and by what.
var sortKeys = map[string]string{"P": "-pcpu", "M": "-rss", "T": "-time", "N": "pid", "U": "user", "H": "host", "C": "command"}

// typing edits what is typed.
func (m *topModel) typing(k tea.KeyPressMsg) tea.Cmd {
	switch k.String() {
	case "esc":
		m.mode = topList
	case "backspace":
		if m.typed != "" {
			_, n := utf8.DecodeLastRuneInString(m.typed)
			m.typed = m.typed[:len(m.typed)-n]
		}
	case "ctrl+u":
		m.typed = ""
	case "enter":
		if m.mode == topFilter {
			m.mode, m.filter = topList, m.typed
			m.arrange()
			return nil
		}
		m.mode = topList
		word := m.typed
		if word == "" {
			word = "TERM"
		}
		n, err := signalNumber(word)
		if err != nil {
			m.say = err.Error()
			return nil
		}
		m.mode, m.signal = topConfirm, n
	default:
		m.insert(k.Text)
	}
	return nil
}

func (m *topModel) insert(text string) {
	if room := 64 - utf8.RuneCountInString(m.typed); utf8.RuneCountInString(text) <= room {
		m.typed += printable(text)
	}
}
