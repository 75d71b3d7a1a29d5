// Producer and worker of Asynq: takes what bench/protocol.ts names as lines of JSON.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sys/unix"
)

const (
	payloadBytes = 100
	kind         = "noop"
)

var queue = os.Args[1]

type command struct {
	Do          string `json:"do"`
	Tasks       int    `json:"tasks"`
	InFlight    int    `json:"inFlight"`
	Batch       int    `json:"batch"`
	PerSecond   int    `json:"perSecond"`
	Concurrency int    `json:"concurrency"`
}

type request struct {
	ID      int     `json:"id"`
	Command command `json:"command"`
}

type reply struct {
	ID     int     `json:"id"`
	Answer *timing `json:"answer,omitempty"`
	Error  string  `json:"error,omitempty"`
}

type timing struct {
	Count     int      `json:"count"`
	StartedAt float64  `json:"startedAt"`
	EndedAt   float64  `json:"endedAt"`
	P50       *float64 `json:"p50"`
	P99       *float64 `json:"p99"`
}

type payload struct {
	P string `json:"p"`
}

// Microseconds of CLOCK_MONOTONIC, which all processes of this machine share.
func now() float64 {
	var at unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &at); err != nil {
		panic(err)
	}
	return float64(at.Nano()) / 1_000
}

func stamped() []byte {
	text := fmt.Sprintf("%d|", int64(math.Round(now())))
	frame, _ := json.Marshal(payload{})
	fill := payloadBytes - len(frame) - len(text)
	body, _ := json.Marshal(payload{P: text + strings.Repeat("x", fill)})
	return body
}

func percentile(us []float64, share float64) *float64 {
	if len(us) == 0 {
		return nil
	}
	sorted := append([]float64(nil), us...)
	sort.Float64s(sorted)
	at := int(math.Ceil(float64(len(sorted))*share)) - 1
	if at < 0 {
		at = 0
	}
	ms := sorted[at] / 1_000
	return &ms
}

func timingOf(count int, startedAt, endedAt float64, us []float64) *timing {
	return &timing{count, startedAt, endedAt, percentile(us, 0.5), percentile(us, 0.99)}
}

type tally struct {
	sync.Mutex
	starts, ended int
	firstAt       float64
	latencies     []float64
}

func (t *tally) start(stamp float64) {
	at := now()
	t.Lock()
	defer t.Unlock()
	if t.starts == 0 {
		t.firstAt = at
	}
	t.starts++
	t.latencies = append(t.latencies, at-stamp)
}

func (t *tally) end() {
	t.Lock()
	defer t.Unlock()
	t.ended++
}

type ends struct {
	redis  asynq.RedisConnOpt
	client *asynq.Client
	server *asynq.Server
	tally  *tally
}

func (e *ends) submit() error {
	_, err := e.client.Enqueue(asynq.NewTask(kind, stamped()), asynq.Queue(queue))
	return err
}

// Each goroutine takes the next share, until none is left.
func (e *ends) submitAll(tasks, size, inFlight int) (*timing, error) {
	var lock sync.Mutex
	var group sync.WaitGroup
	var failure error
	sent := 0
	took := []float64{}
	startedAt := now()
	for n := 0; n < inFlight; n++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for {
				lock.Lock()
				count := size
				if count > tasks-sent {
					count = tasks - sent
				}
				sent += count
				lock.Unlock()
				if count <= 0 {
					return
				}
				at := now()
				for i := 0; i < count; i++ {
					if err := e.submit(); err != nil {
						lock.Lock()
						failure = err
						lock.Unlock()
						return
					}
				}
				us := now() - at
				lock.Lock()
				took = append(took, us)
				lock.Unlock()
			}
		}()
	}
	group.Wait()
	return timingOf(tasks, startedAt, now(), took), failure
}

func (e *ends) pace(tasks, perSecond int) (*timing, error) {
	startedAt := now()
	took := []float64{}
	for n := 0; n < tasks; n++ {
		wait := startedAt + float64(n)*1e6/float64(perSecond) - now()
		if wait > 0 {
			time.Sleep(time.Duration(wait) * time.Microsecond)
		}
		at := now()
		if err := e.submit(); err != nil {
			return nil, err
		}
		took = append(took, now()-at)
	}
	return timingOf(tasks, startedAt, now(), took), nil
}

func (e *ends) work(concurrency int) error {
	e.tally = &tally{}
	counts := e.tally
	mux := asynq.NewServeMux()
	mux.HandleFunc(kind, func(_ context.Context, task *asynq.Task) error {
		var given payload
		if err := json.Unmarshal(task.Payload(), &given); err != nil {
			return err
		}
		stamp, err := strconv.ParseFloat(strings.SplitN(given.P, "|", 2)[0], 64)
		if err != nil {
			return err
		}
		counts.start(stamp)
		defer counts.end()
		return nil
	})
	e.server = asynq.NewServer(e.redis, asynq.Config{
		Concurrency: concurrency,
		Queues:      map[string]int{queue: 1},
		LogLevel:    asynq.ErrorLevel,
	})
	return e.server.Start(mux)
}

func (e *ends) rest() {
	if e.server != nil {
		e.server.Shutdown()
	}
	e.server = nil
}

// The handler of each has returned; its ack follows on the same goroutine.
func (e *ends) untilAcked(tasks int) *timing {
	for {
		e.tally.Lock()
		done := e.tally.ended >= tasks
		e.tally.Unlock()
		if done {
			break
		}
		time.Sleep(time.Millisecond)
	}
	e.tally.Lock()
	defer e.tally.Unlock()
	return timingOf(e.tally.starts, e.tally.firstAt, now(), e.tally.latencies)
}

func (e *ends) obey(order command) (*timing, error) {
	switch order.Do {
	case "single":
		return e.submitAll(order.Tasks, 1, order.InFlight)
	case "bulk":
		return e.submitAll(order.Tasks, order.Batch, order.InFlight)
	case "rate":
		return e.pace(order.Tasks, order.PerSecond)
	case "work":
		return nil, e.work(order.Concurrency)
	case "acked":
		return e.untilAcked(order.Tasks), nil
	default:
		e.rest()
		return nil, nil
	}
}

func main() {
	redis, err := asynq.ParseRedisURI(os.Getenv("BENCH_REDIS_URL"))
	if err != nil {
		panic(err)
	}
	both := &ends{redis: redis, client: asynq.NewClient(redis)}
	output := json.NewEncoder(os.Stdout)
	_ = output.Encode(reply{})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var asked request
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		answer, err := both.obey(asked.Command)
		said := reply{ID: asked.ID, Answer: answer}
		if err != nil {
			said = reply{ID: asked.ID, Error: err.Error()}
		}
		_ = output.Encode(said)
	}
	both.rest()
}
