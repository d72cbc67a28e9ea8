// Command smtpsink takes mail as fast as it comes and forgets it, so that what is measured is the
// sender. It speaks PIPELINING and prints how many mails it took when its input ends.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"sync/atomic"
)

var taken atomic.Int64

func main() {
	address := flag.String("listen", "127.0.0.1:0", "where to listen")
	flag.Parse()
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(connection)
		}
	}()
	io.Copy(io.Discard, os.Stdin)
	fmt.Println(taken.Load())
}

func serve(connection net.Conn) {
	defer connection.Close()
	in := bufio.NewReaderSize(connection, 1<<16)
	out := bufio.NewWriterSize(connection, 1<<16)
	say := func(reply string) {
		out.WriteString(reply)
		out.WriteString("\r\n")
	}
	say("220 sink")
	out.Flush()
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		if len(line) < 4 {
			say("500 what")
		} else {
			switch string(bytes.ToUpper(line[:4])) {
			case "EHLO":
				say("250-sink\r\n250-PIPELINING\r\n250-SIZE 10000000\r\n250-8BITMIME\r\n250 SMTPUTF8")
			case "DATA":
				say("354 go on")
				out.Flush()
				for {
					line, err = in.ReadSlice('\n')
					if err != nil {
						return
					}
					if len(line) == 3 && line[0] == '.' {
						break
					}
				}
				say(fmt.Sprintf("250 2.0.0 taken as %d", taken.Add(1)))
			case "QUIT":
				say("221 bye")
				out.Flush()
				return
			default:
				say("250 ok")
			}
		}
		if in.Buffered() == 0 {
			out.Flush()
		}
	}
}
