// A Clarify that does nothing: it answers tokens, inserts and saves at once, and counts what came.
//
// GET /stats returns the counts since the last GET /reset. A body above -max-bytes gets status 413, as from Clarify. A
// request is counted after its answer, so that counting does not hold up the program that is measured.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Delays longer than this are counted as this.
const longestMs = 120_000

type counts struct {
	Samples, Cells, Rows, Inserts, Saves, Tokens, Bytes, TooLarge int64
	delays                                                        [longestMs + 1]int64
}

var (
	mutex    sync.Mutex
	counted  = new(counts)
	open     int // requests that are answered and not counted yet
	maxBytes int64
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	flag.Int64Var(&maxBytes, "max-bytes", 8<<20, "largest body that is taken")
	flag.Parse()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/v1/rpc", rpc)
	http.HandleFunc("/v1/oauth/token", token)
	http.HandleFunc("/stats", stats)
	http.HandleFunc("/reset", reset)
	fmt.Println(listener.Addr())
	log.Fatal(http.Serve(listener, nil))
}

func token(w http.ResponseWriter, _ *http.Request) {
	mutex.Lock()
	counted.Tokens++
	mutex.Unlock()
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, `{"access_token":"null","token_type":"Bearer","expires_in":86400}`)
}

func stats(w http.ResponseWriter, _ *http.Request) {
	mutex.Lock()
	defer mutex.Unlock()
	var n int64
	for _, count := range counted.delays {
		n += count
	}
	quantile := func(share float64) float64 {
		wanted, seen := int64(share*float64(n-1))+1, int64(0)
		for ms, count := range counted.delays {
			if seen += count; seen >= wanted && n > 0 {
				return float64(ms) / 1000
			}
		}
		return 0
	}
	json.NewEncoder(w).Encode(map[string]any{
		"samples": counted.Samples, "cells": counted.Cells, "rows": counted.Rows, "inserts": counted.Inserts,
		"saves": counted.Saves, "tokens": counted.Tokens, "bytes": counted.Bytes, "too_large": counted.TooLarge,
		"delay_p50": quantile(.5), "delay_p99": quantile(.99), "delay_max": quantile(1),
	})
}

func reset(http.ResponseWriter, *http.Request) {
	mutex.Lock()
	defer mutex.Unlock()
	for open > 0 {
		mutex.Unlock()
		time.Sleep(time.Millisecond)
		mutex.Lock()
	}
	counted = new(counts)
}

func rpc(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	now := time.Now()
	if int64(len(body)) > maxBytes {
		mutex.Lock()
		counted.TooLarge++
		mutex.Unlock()
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	var id, method, inputs []byte // the ID as it came; the inputs as members of an object
	var times []int64             // ms since the epoch
	var series int                // where the values begin
	add := func(input []byte, more string) {
		if len(inputs) > 0 {
			inputs = append(inputs, ',')
		}
		sum := fnv.New64a()
		sum.Write(input)
		inputs = fmt.Appendf(inputs, `"%s":{"id":"null%016x","created":false%s}`, input, sum.Sum64(), more)
	}
	envelope := reader{body, 0}
	envelope.object(func(key []byte) {
		switch string(key) {
		case "id":
			id = envelope.value()
		case "method":
			method = bytes.Trim(envelope.value(), `"`)
		case "params":
			envelope.object(func(key []byte) {
				switch string(key) {
				case "data":
					envelope.object(func(key []byte) {
						switch string(key) {
						case "times":
							envelope.array(func(int) {
								text := string(bytes.Trim(envelope.value(), `"`))
								at, _ := time.Parse(time.RFC3339Nano, text)
								times = append(times, at.UnixMilli())
							})
						case "series":
							series = envelope.at
							envelope.object(func(key []byte) {
								add(key, "")
								envelope.jumpNumbers()
							})
						default:
							envelope.value()
						}
					})
				case "signalsByInput", "inputs":
					envelope.object(func(key []byte) {
						add(key, `,"updated":true`)
						envelope.value()
					})
				default:
					envelope.value()
				}
			})
		default:
			envelope.value()
		}
	})
	if envelope.at < 0 || len(id) == 0 {
		log.Printf("not understood: %.200s", body)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	mutex.Lock()
	open++
	mutex.Unlock()
	defer func() { go count(string(method), body, series, times, now) }()
	w.Header().Set("Content-Type", "application/json")
	answer := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":{"signalsByInput":{%s}}}`, id, inputs)
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	w.Write(answer)
}

func count(method string, body []byte, series int, times []int64, now time.Time) {
	if method != "integration.insert" {
		mutex.Lock()
		counted.Saves++
		open--
		mutex.Unlock()
		return
	}
	perRow := make([]int64, len(times))
	var cells, samples int64
	values := reader{body, series}
	values.object(func([]byte) {
		values.array(func(row int) {
			cells++
			if values.value()[0] != 'n' && row < len(perRow) {
				samples++
				perRow[row]++
			}
		})
	})
	mutex.Lock()
	defer mutex.Unlock()
	counted.Samples += samples
	counted.Cells += cells
	counted.Rows += int64(len(times))
	counted.Inserts++
	open--
	counted.Bytes += int64(len(body))
	for row, n := range perRow {
		counted.delays[min(max(now.UnixMilli()-times[row], 0), longestMs)] += n
	}
}

// reader walks through JSON without making anything. After a mistake, `at` is negative and nothing more is read.
type reader struct {
	data []byte
	at   int
}

func (r *reader) next() byte {
	for r.at >= 0 && r.at < len(r.data) {
		if c := r.data[r.at]; c > ' ' {
			return c
		}
		r.at++
	}
	r.at = -1
	return 0
}

// text returns a string as it stands between its quotes.
func (r *reader) text() []byte {
	if r.next() != '"' {
		r.at = -1
		return nil
	}
	first := r.at + 1
	for at := first; at < len(r.data); at++ {
		switch r.data[at] {
		case '\\':
			at++
		case '"':
			r.at = at + 1
			return r.data[first:at]
		}
	}
	r.at = -1
	return nil
}

func (r *reader) members(open, end byte, each func()) {
	if r.next() != open {
		r.at = -1
		return
	}
	r.at++
	for r.next() != end {
		if r.at < 0 {
			return
		}
		if each(); r.next() == ',' {
			r.at++
		}
	}
	r.at++
}

func (r *reader) object(each func(key []byte)) {
	r.members('{', '}', func() {
		key := r.text()
		if r.next() != ':' {
			r.at = -1
			return
		}
		r.at++
		each(key)
	})
}

func (r *reader) array(each func(n int)) {
	n := 0
	r.members('[', ']', func() { each(n); n++ })
}

// jumpNumbers passes an array that has neither strings nor arrays in it.
func (r *reader) jumpNumbers() {
	if r.next() == 0 {
		return
	}
	if end := bytes.IndexByte(r.data[r.at:], ']'); end >= 0 {
		r.at += end + 1
	} else {
		r.at = -1
	}
}

// value returns any value as it stands. It is never empty.
func (r *reader) value() []byte {
	first := r.at
	switch r.next() {
	case 0:
		return []byte{0}
	case '"':
		first = r.at
		r.text()
	case '{':
		first = r.at
		r.object(func([]byte) { r.value() })
	case '[':
		first = r.at
		r.array(func(int) { r.value() })
	default:
		first = r.at
		for r.at < len(r.data) && r.data[r.at] > ' ' && !bytes.ContainsRune([]byte(",]}"), rune(r.data[r.at])) {
			r.at++
		}
		if r.at == first {
			r.at = -1
		}
	}
	if r.at < 0 {
		return []byte{0}
	}
	return r.data[first:r.at]
}
