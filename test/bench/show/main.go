// Command show prints a results file as a table.
package main

import (
	"fmt"
	"os"

	"github.com/nfs-operator/nfs-operator/test/bench"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: show bench-results.json")
		os.Exit(2)
	}
	results, err := bench.Read(os.Args[1])
	if err == nil {
		err = bench.Table(os.Stdout, results)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "show:", err)
		os.Exit(1)
	}
}
