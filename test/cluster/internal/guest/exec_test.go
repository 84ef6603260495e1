package guest

import (
	"net"
	"strings"
	"testing"
)

func TestExec(t *testing.T) {
	for name, c := range map[string]struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		"output and success": {[]string{"sh", "-c", "echo out; echo err >&2"}, 0, "out\n", "err\n"},
		"exit code":          {[]string{"sh", "-c", "exit 7"}, 7, "", ""},
		"no such program":    {[]string{"/no/such/program"}, 127, "", "fork/exec /no/such/program: no such file or directory\n"},
		"much output":        {[]string{"sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x"}, 0, strings.Repeat("x", 300000), ""},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := net.Pipe()
			defer client.Close()
			go func() {
				defer server.Close()
				serveCommand(server, "secret")
			}()
			var stdout, stderr strings.Builder
			code, err := Exec(client, "secret", c.args, &stdout, &stderr)
			if err != nil || code != c.code || stdout.String() != c.stdout || stderr.String() != c.stderr {
				t.Errorf("got %d, %v, %d bytes %.40q, %q", code, err, stdout.Len(), stdout.String(), stderr.String())
			}
		})
	}
}

func TestExecNeedsTheToken(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	go func() {
		defer server.Close()
		serveCommand(server, "secret")
	}()
	if code, err := Exec(client, "wrong", []string{"true"}, nil, nil); err == nil {
		t.Errorf("the command ran, exit code %d", code)
	}
}
