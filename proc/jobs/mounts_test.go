package jobs

import (
	"slices"
	"testing"
)

func TestMounts(t *testing.T) {
	const plain = `21 1 0:20 / / rw,relatime shared:1 - overlay root rw
22 21 0:21 / /proc rw,nosuid - proc proc rw
23 21 0:22 / /home\040dir ro - ext4 /dev/sda1 rw
`
	const same = `301 300 0:22 / /home\040dir ro - ext4 /dev/sda1 rw
300 299 0:20 / / rw,relatime master:1 - overlay root rw
302 300 0:21 / /proc rw,nosuid - proc proc rw
303 302 0:40 / /proc ro,nosuid - fuse.onehost-proc onehost-proc ro
304 303 0:21 / /proc/.native rw,nosuid - proc proc rw
305 300 0:50 / /run/onehost/home/2 rw - fuse.onehost host2:/ rw
`
	for name, c := range map[string]struct {
		its  string
		same bool
	}{
		"a /proc of its own":    {same, true},
		"none at all":           {"", false},
		"one more":              {same + "306 300 0:60 / /mnt rw - tmpfs tmpfs rw\n", false},
		"the same twice":        {same + "306 300 0:20 / / rw,relatime - overlay root rw\n", false},
		"read-only":             {same[:len(same)-1] + "\n307 300 0:22 / /home\\040dir rw - ext4 /dev/sda1 rw\n", false},
		"not like /proc":        {same + "306 300 0:60 / /process rw - tmpfs tmpfs rw\n", false},
		"what nobody can read":  {same + "306 300\n", false},
		"another home's tree":   {same + "308 300 0:51 / /run/onehost/home/3 rw - fuse.onehost host3:/ rw\n", true},
		"somebody else's trees": {same + "308 300 0:51 / /mnt rw - fuse.onehostile x rw\n", false},
	} {
		if got := slices.Equal(mounts(c.its), mounts(plain)); got != c.same {
			t.Errorf("%s: the same: %v", name, got)
		}
	}
}
