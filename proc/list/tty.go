package list

import (
	"bytes"
	"os"
	"strconv"
)

// ttyName gives the name of a terminal below /dev from its number in /proc/PID/stat; "" for none.
func ttyName(dev uint32) string {
	major, minor := dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	switch {
	case dev == 0:
		return ""
	case major >= 136 && major <= 143: // UNIX98_PTY_SLAVE_MAJOR and its seven followers
		return "pts/" + strconv.Itoa(int((major-136)<<8+minor))
	case major == 4 && minor < 64:
		return "tty" + strconv.Itoa(int(minor))
	}
	number := strconv.Itoa(int(major)) + ":" + strconv.Itoa(int(minor))
	b, err := os.ReadFile("/sys/dev/char/" + number + "/uevent")
	if err != nil {
		return number
	}
	for line := range bytes.Lines(b) {
		if name, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("DEVNAME=")); ok {
			return string(name)
		}
	}
	return number
}
