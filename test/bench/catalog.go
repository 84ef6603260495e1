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
	{Key: "disk_wait_ms_0", What: "for comparison: one mkdir on the same disk, in turns with these calls, no volume present, median", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "disk_wait_ms_1000", What: "for comparison: one mkdir on the same disk, in turns with these calls, 1,000 volumes present, median", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "disk_wait_ms", What: "for comparison: one mkdir on the same disk, in turns with these calls, 5,000 volumes present, median", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "create_volumes_per_s", What: "CreateVolume, 16 callers at once, 5,000 volumes present", Unit: "1/s", Better: Higher, NoTarget: true},
	{Key: "open_access_ms_1", What: "OpenAccess by one more node, 1 clients in the volume's list", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "open_access_ms_1000", What: "OpenAccess by one more node, 1,000 clients in the volume's list", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "open_access_ms_3000", What: "OpenAccess by one more node, 3,000 clients in the volume's list", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "open_access_ms_5000", What: "OpenAccess by one more node, 5,000 clients in the volume's list", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "open_access_burst_ms", What: "OpenAccess by 16 nodes at once, 5,000 clients in the list, time for each", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "open_access_other_ms", What: "OpenAccess of a volume with one client", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "open_access_other_burst_ms", What: "the same beside that burst", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "client_list_stat_us_1", What: "stat through NFS, 1 clients in the volume's list, its own the last", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "client_list_stat_us_1000", What: "stat through NFS, 1,000 clients in the volume's list, its own the last", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "client_list_stat_us_3000", What: "stat through NFS, 3,000 clients in the volume's list, its own the last", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "client_list_stat_us_5000", What: "stat through NFS, 5,000 clients in the volume's list, its own the last", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "client_list_read_us_1", What: "read of 4 KiB through NFS, 1 clients in the volume's list, its own the last", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "client_list_read_us_1000", What: "read of 4 KiB through NFS, 1,000 clients in the volume's list, its own the last", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "client_list_read_us_3000", What: "read of 4 KiB through NFS, 3,000 clients in the volume's list, its own the last", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "client_list_read_us_5000", What: "read of 4 KiB through NFS, 5,000 clients in the volume's list, its own the last", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "client_list_write_us_1", What: "write of 4 KiB through NFS, 1 clients in the volume's list, its own the last", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "client_list_write_us_1000", What: "write of 4 KiB through NFS, 1,000 clients in the volume's list, its own the last", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "client_list_write_us_3000", What: "write of 4 KiB through NFS, 3,000 clients in the volume's list, its own the last", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "client_list_write_us_5000", What: "write of 4 KiB through NFS, 5,000 clients in the volume's list, its own the last", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "client_list_cpu_us_1", What: "CPU time of Ganesha for each of these operations, 1 clients in the list", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "client_list_cpu_us_1000", What: "CPU time of Ganesha for each of these operations, 1,000 clients in the list", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "client_list_cpu_us_3000", What: "CPU time of Ganesha for each of these operations, 3,000 clients in the list", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "client_list_cpu_us_5000", What: "CPU time of Ganesha for each of these operations, 5,000 clients in the list", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "pvc_bound_per_s", What: "PVC created to Bound, 1,000 at once", Unit: "1/s", Target: 25, Better: Higher},
	{Key: "pvc_bound_p50_s", What: "claims made at once: first made to Bound, median", Unit: "s", Better: Lower, NoTarget: true},
	{Key: "pvc_bound_p99_s", What: "the same, 99th percentile", Unit: "s", Better: Lower, NoTarget: true},
	{Key: "pvc_api_requests", What: "the same: requests to the API server for each claim, whoever asks", Unit: "requests", Better: Lower, NoTarget: true},
	{Key: "pvc_api_writes", What: "the same: writes of our components for each claim", Unit: "requests", Better: Lower, NoTarget: true},
	{Key: "pvc_bound_per_s_default", What: "PVC created to Bound, 1,000 at once, kube-controller-manager with its default limits", Unit: "1/s", Better: Higher, NoTarget: true},
	{Key: "pvc_bound_p50_s_default", What: "claims made at once: first made to Bound, median (default limits)", Unit: "s", Better: Lower, NoTarget: true},
	{Key: "pvc_bound_p99_s_default", What: "the same, 99th percentile (default limits)", Unit: "s", Better: Lower, NoTarget: true},
	{Key: "pvc_api_requests_default", What: "the same: requests to the API server for each claim, whoever asks (default limits)", Unit: "requests", Better: Lower, NoTarget: true},
	{Key: "pvc_api_writes_default", What: "the same: writes of our components for each claim (default limits)", Unit: "requests", Better: Lower, NoTarget: true},
	{Key: "csi_controller_rss_mib_idle", What: "CSI controller, our container, a replica, idle, resident memory", Unit: "MiB", Better: Lower, NoTarget: true},
	{Key: "csi_controller_rss_mib_loaded", What: "CSI controller, our container, a replica, after 1,000 claims, resident memory", Unit: "MiB", Better: Lower, NoTarget: true},
	{Key: "csi_controller_cpu_ms_per_pvc", What: "CSI controller, our container, CPU time for each claim", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "csi_sidecars_rss_mib_idle", What: "its sidecars together, a replica, idle, resident memory", Unit: "MiB", Better: Lower, NoTarget: true},
	{Key: "csi_sidecars_rss_mib_loaded", What: "its sidecars together, a replica, after 1,000 claims, resident memory", Unit: "MiB", Better: Lower, NoTarget: true},
	{Key: "csi_sidecars_cpu_ms_per_pvc", What: "its sidecars together, CPU time for each claim", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "agent_cpu_ms_per_pvc", What: "agent and Ganesha, CPU time for each claim", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "reflink_us_per_file", What: "snapshot: per file, no data copied, durable", Unit: "us", Target: 250, Better: Lower},
	{Key: "clone_us_per_file", What: "clone: per file, no data copied, durable", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "create_file_us", What: "for comparison: one file of 4 KiB made on the same file system", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "reflink_us_per_file_1000", What: "snapshot of 1,000 files: per file", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "clone_us_per_file_1000", What: "clone of 1,000 files: per file", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "create_file_us_1000", What: "for comparison: one of these files made", Unit: "us", Better: Lower, NoTarget: true},
	{Key: "snapshot_ms_16_mib", What: "snapshot of one file of 16 MiB", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "snapshot_ms_1_gib", What: "snapshot of one file of 1 GiB", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "clone_ms_16_mib", What: "clone of one file of 16 MiB", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "clone_ms_1_gib", What: "clone of one file of 1 GiB", Unit: "ms", Better: Lower, NoTarget: true},
	{Key: "restart_serving_s", What: "agent start to serving, 5,000 volumes", Unit: "s", Target: 10, Better: Lower},
	{Key: "gap_process_s", What: "longest I/O gap of a client when ganesha is killed", Unit: "s", Target: 15, Better: Lower},
	{Key: "gap_pod_s", What: "longest I/O gap of a client when the server pod is deleted", Unit: "s", Target: 15, Better: Lower},
	{Key: "gap_open_s", What: "longest wait of a new open after ganesha was killed", Unit: "s", Target: 20, Better: Lower},
	{Key: "gap_node_s", What: "I/O gap when the server's node loses power, from its kubelet being Ready again", Unit: "s", Target: 45, Better: Lower},
	{Key: "restage_50_s", What: "50 volumes staged on a node after its reboot", Unit: "s", Target: 10, Better: Lower},
	{Key: "reassert_5000_s", What: "5,000 grants re-asserted after a server restart", Unit: "s", Target: 5, Better: Lower},
	{Key: "reassert_moved_5000_s", What: "the same from addresses that have changed: the server moved", Unit: "s", Better: Lower, NoTarget: true},
	{Key: "pod_start_added_ms", What: "pod start with a mounted volume minus with emptyDir", Unit: "ms", Target: 150, Better: Lower},
	{Key: "node_containers", What: "containers that every node runs for the driver", Unit: "containers", Better: Lower, NoTarget: true},
	{Key: "node_image_mib", What: "image that every node pulls", Unit: "MiB", Better: Lower, NoTarget: true},
	{Key: "server_image_mib", What: "image of the NFS servers", Unit: "MiB", Better: Lower, NoTarget: true},
	{Key: "csi_node_anon_mib", What: "csi-node pod with 50 mounts, anonymous memory", Unit: "MiB", Target: 15, Better: Lower},
	{Key: "csi_node_rss_mib", What: "csi-node pod with 50 mounts, resident memory", Unit: "MiB", Target: 40, Better: Lower},
	{Key: "scale_reconciled_s", What: "1,000 StorageProfiles and 200 NFSBackends: manager start to all reconciled", Unit: "s", Better: Lower, NoTarget: true},
	{Key: "scale_api_requests", What: "the same: requests of the manager to the API server", Unit: "requests", Better: Lower, NoTarget: true},
	{Key: "scale_cpu_s", What: "the same: the manager's CPU time (with the test's own)", Unit: "s", Better: Lower, NoTarget: true},
	{Key: "scale_heap_mib", What: "the same: the manager's live heap", Unit: "MiB", Better: Lower, NoTarget: true},
	{Key: "manager_rss_mib_idle", What: "manager, idle, resident memory", Unit: "MiB", Target: 40, Better: Lower},
	{Key: "manager_rss_mib_loaded", What: "manager after 1,000 claims, resident memory", Unit: "MiB", Better: Lower, NoTarget: true},
	{Key: "manager_rss_mib_5000", What: "manager with 5,000 PVs, resident memory", Unit: "MiB", Target: 60, Better: Lower},
	{Key: "server_rss_mib_5000", What: "agent and Ganesha together, 5,000 volumes, resident memory", Unit: "MiB", Target: 120, Better: Lower},
	{Key: "server_rss_mib_1000", What: "agent and Ganesha together, 1,000 volumes, resident memory", Unit: "MiB", Better: Lower, NoTarget: true},
	{Key: "server_rss_mib_0", What: "agent and Ganesha together, no volume, resident memory", Unit: "MiB", Better: Lower, NoTarget: true},
	{Key: "idle_api_writes_per_min", What: "API writes when nothing changes, leases not counted", Unit: "1/min", Target: 0, Better: Lower},
	{Key: "nfs_write_mib_s", What: "sequential write with one fsync at the end: through NFS", Unit: "MiB/s", Better: Higher, NoTarget: true},
	{Key: "local_write_mib_s", What: "the same on the server's own file system", Unit: "MiB/s", Better: Higher, NoTarget: true},
	{Key: "ratio_write_mib_s", What: "the same: NFS by local", Unit: "", Better: Higher, NoTarget: true},
	{Key: "nfs_read_mib_s", What: "sequential read, caches empty: through NFS", Unit: "MiB/s", Better: Higher, NoTarget: true},
	{Key: "local_read_mib_s", What: "the same on the server's own file system", Unit: "MiB/s", Better: Higher, NoTarget: true},
	{Key: "ratio_read_mib_s", What: "the same: NFS by local", Unit: "", Better: Higher, NoTarget: true},
	{Key: "nfs_random_write_4k_per_s", What: "random writes of 4 KiB, fsync after each: through NFS", Unit: "1/s", Better: Higher, NoTarget: true},
	{Key: "local_random_write_4k_per_s", What: "the same on the server's own file system", Unit: "1/s", Better: Higher, NoTarget: true},
	{Key: "ratio_random_write_4k_per_s", What: "the same: NFS by local", Unit: "", Better: Higher, NoTarget: true},
	{Key: "nfs_random_read_4k_per_s", What: "random reads of 4 KiB, caches empty: through NFS", Unit: "1/s", Better: Higher, NoTarget: true},
	{Key: "local_random_read_4k_per_s", What: "the same on the server's own file system", Unit: "1/s", Better: Higher, NoTarget: true},
	{Key: "ratio_random_read_4k_per_s", What: "the same: NFS by local", Unit: "", Better: Higher, NoTarget: true},
	{Key: "nfs_creates_per_s", What: "files created and closed: through NFS", Unit: "1/s", Better: Higher, NoTarget: true},
	{Key: "local_creates_per_s", What: "the same on the server's own file system", Unit: "1/s", Better: Higher, NoTarget: true},
	{Key: "ratio_creates_per_s", What: "the same: NFS by local", Unit: "", Better: Higher, NoTarget: true},
	{Key: "nfs_stats_per_s", What: "files listed and looked up, caches empty: through NFS", Unit: "1/s", Better: Higher, NoTarget: true},
	{Key: "local_stats_per_s", What: "the same on the server's own file system", Unit: "1/s", Better: Higher, NoTarget: true},
	{Key: "ratio_stats_per_s", What: "the same: NFS by local", Unit: "", Better: Higher, NoTarget: true},
	{Key: "nfs_removes_per_s", What: "files removed: through NFS", Unit: "1/s", Better: Higher, NoTarget: true},
	{Key: "local_removes_per_s", What: "the same on the server's own file system", Unit: "1/s", Better: Higher, NoTarget: true},
	{Key: "ratio_removes_per_s", What: "the same: NFS by local", Unit: "", Better: Higher, NoTarget: true},
}

// Find looks a figure up by its key.
func Find(key string) (Figure, bool) {
	i := slices.IndexFunc(figures, func(f Figure) bool { return f.Key == key })
	if i < 0 {
		return Figure{}, false
	}
	return figures[i], true
}
