package mount

import "testing"

func TestConnectionOf(t *testing.T) {
	for _, test := range []struct {
		agent, user []string
		want        Connection
	}{
		{nil, nil, Connection{"4.2", 1, "timeo=100,retrans=1", true}},
		{[]string{"noresvport"}, []string{"nconnect=4", "vers=4.1,timeo=300"}, Connection{"4.1", 4, "timeo=300,retrans=1", false}},
		{[]string{"resvport"}, []string{"ro,noatime,rsize=4096"}, Connection{"4.2", 1, "timeo=100,retrans=1", true}},
	} {
		options, err := MakeOptions("10.0.0.1", test.agent, test.user)
		if err != nil {
			t.Fatal(err)
		}
		if got := ConnectionOf(options.Data); got != test.want {
			t.Errorf("%v %v: %+v, want %+v", test.agent, test.user, got, test.want)
		}
	}
}
