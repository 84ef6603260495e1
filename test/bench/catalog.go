// Package bench keeps what `make bench` measures: which figures there are, what they should be, and what they were. Nothing here
// ever fails because a figure is bad: targets are shown, not asserted.
package bench

import "slices"

// Better says in which direction a figure improves.
type Better string

const (
	Lower  Better = "lower"
	Higher Better = "higher"
)

// Figure is something that is measured.
type Figure struct {
	Key    string
	What   string // for people, one line
	Unit   string
	Target float64
	Better Better
	// NoTarget is a figure that is only shown.
	NoTarget bool
}

// figures is every key that Record takes, in the order of the table.
var figures = []Figure{
	{Key: "create_volume_p50_ms", What: "CreateVolume in the agent, 5,000 volumes present, median", Unit: "ms", Target: 3, Better: Lower},
	{Key: "create_volume_p99_ms", What: "CreateVolume in the agent, 5,000 volumes present, 99th percentile", Unit: "ms", Target: 10, Better: Lower},
	{Key: "delete_volume_p99_ms", What: "DeleteVolume acknowledged, 5,000 volumes present, 99th percentile", Unit: "ms", Target: 10, Better: Lower},
	{Key: "create_volume_p50_ms_0", What: "CreateVolume, no volume present, median", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "create_volume_p99_ms_0", What: "CreateVolume, no volume present, 99th percentile", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "delete_volume_p99_ms_0", What: "DeleteVolume, no other volume present, 99th percentile", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "create_volume_p50_ms_1000", What: "CreateVolume, 1,000 volumes present, median", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "create_volume_p99_ms_1000", What: "CreateVolume, 1,000 volumes present, 99th percentile", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "delete_volume_p99_ms_1000", What: "DeleteVolume, 1,000 volumes present, 99th percentile", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "create_volumes_per_s", What: "CreateVolume, 16 callers at once, 5,000 volumes present", Unit: "1/s", Better: Higher, NoTarget: true},
	{Key: "pvc_bound_per_s", What: "PVC created to Bound, 1,000 at once", Unit: "1/s", Target: 25, Better: Higher},
	{Key: "reflink_us_per_file", What: "snapshot: per file, no data copied, durable", Unit: "us", Target: 250, Better: Lower},
	{Key: "restart_serving_s", What: "agent start to serving, 5,000 volumes", Unit: "s", Target: 10, Better: Lower},
	{Key: "gap_process_s", What: "longest I/O gap of a client when ganesha is killed", Unit: "s", Target: 15, Better: Lower},
	{Key: "gap_pod_s", What: "longest I/O gap of a client when the server pod is deleted", Unit: "s", Target: 15, Better: Lower},
	{Key: "gap_open_s", What: "longest wait of a new open after ganesha was killed", Unit: "s", Target: 20, Better: Lower},
	{Key: "gap_node_s", What: "I/O gap when the server's node loses power, from its kubelet being Ready again", Unit: "s", Target: 45, Better: Lower},
	{Key: "restage_50_s", What: "50 volumes staged on a node after its reboot", Unit: "s", Target: 10, Better: Lower},
	{Key: "reassert_5000_s", What: "5,000 grants re-asserted after a server restart", Unit: "s", Target: 5, Better: Lower},
	{Key: "reassert_moved_5000_s", What: "the same from addresses that have changed: the server moved", Unit: "s", Better: Lower, NoTarget: true},
	{Key: "pod_start_added_ms", What: "pod start with a mounted volume minus with emptyDir", Unit: "ms", Target: 150, Better: Lower},
	{Key: "csi_node_anon_mib", What: "csi-node pod with 50 mounts, anonymous memory", Unit: "MiB", Target: 15, Better: Lower},
	{Key: "csi_node_rss_mib", What: "csi-node pod with 50 mounts, resident memory", Unit: "MiB", Target: 40, Better: Lower},
	{Key: "scale_reconciled_s", What: "1,000 StorageProfiles and 200 NFSBackends: manager start to all reconciled", Unit: "s", Better: Lower, NoTarget: true},
	{Key: "scale_api_requests", What: "the same: requests of the manager to the API server", Unit: "requests", Better: Lower, NoTarget: true},
	{Key: "scale_heap_mib", What: "the same: the manager's live heap", Unit: "MiB", Better: Lower, NoTarget: true},
	{Key: "manager_rss_mib_idle", What: "manager, idle, resident memory", Unit: "MiB", Target: 40, Better: Lower},
	{Key: "manager_rss_mib_5000", What: "manager with 5,000 PVs, resident memory", Unit: "MiB", Target: 60, Better: Lower},
	{Key: "server_rss_mib_5000", What: "agent and Ganesha together, 5,000 volumes, resident memory", Unit: "MiB", Target: 120, Better: Lower},
	{Key: "server_rss_mib_1000", What: "agent and Ganesha together, 1,000 volumes, resident memory", Unit: "MiB", Better: Lower, NoTarget: true},
	{Key: "server_rss_mib_0", What: "agent and Ganesha together, no volume, resident memory", Unit: "MiB", Better: Lower, NoTarget: true},
	{Key: "idle_api_writes_per_min", What: "API writes when nothing changes, leases not counted", Unit: "1/min", Target: 0, Better: Lower},
	{Key: "csi_sanity_skipped", What: "csi-sanity specs skipped that apply to an advertised capability", Unit: "", Target: 0, Better: Lower},
	{Key: "nfs_write_mib_s", What: "sequential write with fsync at the end, through NFS", Unit: "MiB/s", Better: Higher, NoTarget: true},
	{Key: "nfs_read_mib_s", What: "sequential read, cold client, through NFS", Unit: "MiB/s", Better: Higher, NoTarget: true},
	{Key: "nfs_random_write_4k_per_s", What: "random 4 KiB writes, each with fsync, through NFS", Unit: "1/s", Better: Higher, NoTarget: true},
	{Key: "nfs_creates_per_s", What: "files created and closed, through NFS", Unit: "1/s", Better: Higher, NoTarget: true},
	{Key: "local_write_mib_s", What: "the same as nfs_write_mib_s, on the server's file system", Unit: "MiB/s", Better: Higher, NoTarget: true},
	{Key: "local_read_mib_s", What: "the same as nfs_read_mib_s, on the server's file system", Unit: "MiB/s", Better: Higher, NoTarget: true},
	{Key: "local_random_write_4k_per_s", What: "the same as nfs_random_write_4k_per_s, on the server's file system", Unit: "1/s", Better: Higher, NoTarget: true},
	{Key: "local_creates_per_s", What: "the same as nfs_creates_per_s, on the server's file system", Unit: "1/s", Better: Higher, NoTarget: true},
}

// Find looks a figure up by its key.
func Find(key string) (Figure, bool) {
	i := slices.IndexFunc(figures, func(f Figure) bool { return f.Key == key })
	if i < 0 {
		return Figure{}, false
	}
	return figures[i], true
}
