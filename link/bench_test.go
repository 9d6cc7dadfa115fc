package link

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"
)

// transports are what the benchmarks run over.
var transports = []struct {
	name string
	join func(t testing.TB, ra, rb *Router) (*Conn, *Conn)
}{
	{"tls", tcpPair},
	{"pipe", pair},
}

// BenchmarkCall is the round trip of a call with a reply of the given size; us/p50 is its median.
func BenchmarkCall(b *testing.B) {
	for _, tr := range transports {
		for _, size := range []int{0, 4 << 10, 128 << 10} {
			b.Run(fmt.Sprintf("%s/%d", tr.name, size), func(b *testing.B) {
				r := NewRouter()
				body := make([]byte, size)
				r.HandleCall("b.read", func(context.Context, *Request) (Reply, error) { return Reply{Body: body}, nil })
				c, _ := tr.join(b, NewRouter(), r)
				header := []byte("path, offset and size")
				times := make([]time.Duration, 0, 1<<16)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					start := time.Now()
					if _, err := c.Call(context.Background(), "b.read", header, nil); err != nil {
						b.Fatal(err)
					}
					if len(times) < cap(times) {
						times = append(times, time.Since(start))
					}
				}
				slices.Sort(times)
				b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/1e3, "us/p50")
			})
		}
	}
}

// BenchmarkWrite is a call with a request body.
func BenchmarkWrite(b *testing.B) {
	for _, tr := range transports {
		b.Run(tr.name, func(b *testing.B) {
			r := NewRouter()
			r.HandleCall("b.write", func(context.Context, *Request) (Reply, error) { return Reply{}, nil })
			c, _ := tr.join(b, NewRouter(), r)
			body := make([]byte, 128<<10)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Call(context.Background(), "b.write", nil, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkParallel is many small calls at once.
func BenchmarkParallel(b *testing.B) {
	for _, tr := range transports {
		b.Run(tr.name, func(b *testing.B) {
			r := NewRouter()
			r.HandleCall("b.null", echo)
			c, _ := tr.join(b, NewRouter(), r)
			b.SetParallelism(32)
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if _, err := c.Call(context.Background(), "b.null", nil, nil); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkStream is one direction of a stream.
func BenchmarkStream(b *testing.B) {
	for _, tr := range transports {
		for _, size := range []int{100, 64 << 10} {
			b.Run(fmt.Sprintf("%s/%d", tr.name, size), func(b *testing.B) {
				r := NewRouter()
				r.HandleStream("b.sink", func(ctx context.Context, _ *Request, s *Stream) error {
					for {
						if _, err := s.Recv(ctx); err != nil {
							return nil
						}
					}
				})
				c, _ := tr.join(b, NewRouter(), r)
				ctx := context.Background()
				s, err := c.Open(ctx, "b.sink", nil, nil)
				if err != nil {
					b.Fatal(err)
				}
				msg := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if err := s.Send(ctx, msg); err != nil {
						b.Fatal(err)
					}
				}
				_ = s.CloseSend()
				_, _ = s.Recv(ctx)
			})
		}
	}
}
