package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/golden"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

func testShard() Shard {
	class := "local-block"
	return Shard{
		Backend: &v1alpha1.NFSBackend{
			ObjectMeta: metav1.ObjectMeta{Name: "shared", Labels: map[string]string{"app.kubernetes.io/instance": "argo"}},
			Spec: v1alpha1.NFSBackendSpec{Server: &v1alpha1.ManagedServer{
				Shards:       1,
				Storage:      v1alpha1.ServerStorage{VolumeClaimTemplate: v1alpha1.VolumeClaimTemplate{StorageClassName: &class, Size: resource.MustParse("10Gi")}},
				LeaseSeconds: 18, GraceSeconds: 30, OvercommitPercent: 100,
			}},
		},
		Namespace: "nfs-operator-system",
		Image:     "ghcr.io/nfs-operator/nfs-server:dev",
	}
}

// mountedShard has a disk that the kubelet mounts.
func mountedShard() Shard {
	s := testShard()
	s.Backend.Spec.Server.Storage.VolumeClaimTemplate.VolumeMode = corev1.PersistentVolumeFilesystem
	return s
}

// TestTheDiskDecidesItsMode: a claim and a disk that exist have one that nobody can change.
func TestTheDiskDecidesItsMode(t *testing.T) {
	block, filesystem := corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem
	s := testShard()
	s.Adopted = &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{VolumeMode: &filesystem}}
	if !s.Mounted() {
		t.Error("an adopted file system is taken for a device")
	}
	s.Claim = &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{VolumeMode: &block}}
	if s.Mounted() {
		t.Error("a claim's device is taken for a file system")
	}
	if externalShard().Mounted() {
		t.Error("a share is no disk")
	}
}

// TestIdentityOfADiskRestartsNothing: it is known only after the first start.
func TestIdentityOfADiskRestartsNothing(t *testing.T) {
	for _, s := range []Shard{testShard(), mountedShard()} {
		before, err := TemplateHash(s)
		if err != nil {
			t.Fatal(err)
		}
		s.ServerID = "nfs-1"
		if after, err := TemplateHash(s); err != nil || after != before {
			t.Errorf("%s became %s, %v", before, after, err)
		}
	}
}

// load is what the agent does with its configuration.
func load(t *testing.T, text string) (config.Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(file)
}

func TestNothingIsKnownOfADiskThatWasNotMadeFromNothing(t *testing.T) {
	snapshot := &corev1.TypedLocalObjectReference{Kind: "VolumeSnapshot", Name: "yesterday"}
	for name, test := range map[string]struct {
		change func(*corev1.PersistentVolumeClaim, *corev1.PersistentVolume)
		want   bool
	}{
		"provisioned":       {func(*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) {}, true},
		"made by hand":      {func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) { v.Annotations = nil }, false},
		"for another claim": {func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) { v.Spec.ClaimRef.UID = "2" }, false},
		"from a snapshot":   {func(c *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) { c.Spec.DataSource = snapshot }, false},
		"from something else": {func(c *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) {
			c.Spec.DataSourceRef = &corev1.TypedObjectReference{Kind: "Backup"}
		}, false},
	} {
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{UID: "1"}}
		volume := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{annotationProvisionedBy: "disks.example.org"}},
			Spec:       corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{UID: "1"}},
		}
		test.change(claim, volume)
		if got := MadeFor(claim, volume); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestNoteOnADiskIsWhatWasFoundThere: what the server should have says nothing of the disk that it was given.
func TestNoteOnADiskIsWhatWasFoundThere(t *testing.T) {
	s := testShard()
	s.ServerID = "nfs-1"
	if _, noted := ProtectedVolume(s, testVolume()).Annotations[meta.AnnotationServerID]; noted {
		t.Error("a disk that nobody has looked at has an identity")
	}
	s.Backend.Spec.Server.Storage = v1alpha1.ServerStorage{Hosts: []v1alpha1.HostDevice{{Node: "metal-1", Device: "/dev/sdb"}}}
	if _, noted := HostVolume(s).Annotations[meta.AnnotationServerID]; noted {
		t.Error("a device that nobody has looked at has an identity")
	}
}

func TestGolden(t *testing.T) {
	s := testShard()
	set, err := StatefulSet(s)
	if err != nil {
		t.Fatal(err)
	}
	config, err := ConfigMap(s)
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "statefulset", set)
	golden.Equal(t, "configmap", config)
	golden.Equal(t, "service", Service(s))
	golden.Equal(t, "claim", Claim(s))
	golden.Equal(t, "disruptionbudget", DisruptionBudget("shared", s.Namespace))

	s.InUse, s.ServerID, s.DiskID, s.Address = true, "0123456789abcdef", "0123456789abcdef", "10.96.0.7"
	golden.Equal(t, "service-in-use", Service(s))
	golden.Equal(t, "claim-in-use", Claim(s))
	golden.Equal(t, "volume-protected", ProtectedVolume(s, testVolume()))
	if config, err = ConfigMap(s); err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "configmap-in-use", config)
	if c, err := load(t, config.Data[names.KeyAgentConfig]); err != nil || c.Device == "" || c.ServerID != s.ServerID {
		t.Errorf("the agent reads %+v, %v", c, err)
	}

	mounted := mountedShard()
	mounted.ServerID = s.ServerID
	if set, err = StatefulSet(mounted); err != nil {
		t.Fatal(err)
	}
	if config, err = ConfigMap(mounted); err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "mounted-statefulset", set)
	golden.Equal(t, "mounted-configmap", config)
	golden.Equal(t, "mounted-claim", Claim(mounted))

	s.Backend.Spec.Server.Storage = v1alpha1.ServerStorage{Hosts: []v1alpha1.HostDevice{{Node: "metal-1", Device: "/dev/disk/by-id/nvme-eui.1"}}}
	s.Hostname = "metal-1.example.org"
	golden.Equal(t, "volume-of-host", HostVolume(s))
	golden.Equal(t, "claim-of-host", Claim(s))
}

func externalShard() Shard {
	s := testShard()
	s.Cluster = "9b2f0f0e"
	s.Backend = &v1alpha1.NFSBackend{
		ObjectMeta: metav1.ObjectMeta{Name: "nas"},
		Spec:       v1alpha1.NFSBackendSpec{External: &v1alpha1.ExternalServer{Server: "nas.example.org", Path: "/export"}},
	}
	return s
}

// What the definition admitted before, or cannot see.
func TestConfigurationThatTheAgentWouldRefuse(t *testing.T) {
	for name, test := range map[string]struct {
		want  bool
		spoil func(*Shard)
	}{
		"nothing":  {true, func(*Shard) {}},
		"root dot": {true, func(s *Shard) { s.Backend.Spec.External.Server = "nas.example.org." }},
		"retry":    {false, func(s *Shard) { s.Backend.Spec.External.MountOptions = []string{"retry=2"} }},
		"long":     {false, func(s *Shard) { s.Backend.Spec.External.MountOptions = []string{strings.Repeat("a", 33)} }},
		"owner":    {false, func(s *Shard) { s.Backend.Annotations = map[string]string{meta.AnnotationTakeOverShare: "of another"} }},
	} {
		s := externalShard()
		test.spoil(&s)
		if err := CheckExternal(s); (err == nil) != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGoldenExternal(t *testing.T) {
	s := externalShard()
	deployment, err := Deployment(s)
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "external-deployment", deployment)
	golden.Equal(t, "external-service", Service(s))

	s.ServerID = "0123456789abcdef"
	s.Backend.Annotations = map[string]string{meta.AnnotationTakeOverShare: "former/nas"}
	external := s.Backend.Spec.External
	external.MountOptions = []string{"vers=4.1", "nconnect=4"}
	external.NodeSelector = map[string]string{"network": "storage"}
	external.PriorityClassName = "system-cluster-critical"
	external.Tolerations = []corev1.Toleration{{Key: "storage", Operator: corev1.TolerationOpExists}}
	external.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}}
	golden.AllSet(t, *external)
	if deployment, err = Deployment(s); err != nil {
		t.Fatal(err)
	}
	configuration, err := ConfigMap(s)
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "external-deployment-all-fields", deployment)
	golden.Equal(t, "external-configmap", configuration)
	if _, err := load(t, configuration.Data[names.KeyAgentConfig]); err != nil {
		t.Errorf("the agent does not take it: %v", err)
	}
}

func TestAgentOfAShareRestartsForItsConfigurationOnly(t *testing.T) {
	hash := func(change func(*Shard)) string {
		s := externalShard()
		change(&s)
		hash, err := TemplateHash(s)
		if err != nil {
			t.Fatal(err)
		}
		return hash
	}
	base := hash(func(*Shard) {})
	for name, change := range map[string]func(*Shard){
		"server":    func(s *Shard) { s.Backend.Spec.External.Server = "192.0.2.7" },
		"path":      func(s *Shard) { s.Backend.Spec.External.Path = "/other" },
		"options":   func(s *Shard) { s.Backend.Spec.External.MountOptions = []string{"vers=4.1"} },
		"take over": func(s *Shard) { s.Backend.Annotations = map[string]string{meta.AnnotationTakeOverShare: "x/y"} },
		"image":     func(s *Shard) { s.Image = "other" },
	} {
		if hash(change) == base {
			t.Errorf("%s changed, and the hash did not", name)
		}
	}
	for name, change := range map[string]func(*Shard){
		"identity": func(s *Shard) { s.ServerID = "0123456789abcdef" },
		"address":  func(s *Shard) { s.Address = "10.96.0.7" },
		"in use":   func(s *Shard) { s.InUse = true },
	} {
		if hash(change) != base {
			t.Errorf("the hash follows %s, which is no reason to restart an agent", name)
		}
	}
}

func TestAllServerFieldsReachThePod(t *testing.T) {
	s := testShard()
	s.DiskOnNetwork = true
	server := s.Backend.Spec.Server
	server.NodeSelector = map[string]string{"disk": "fast"}
	server.PriorityClassName, server.Spread = "system-cluster-critical", v1alpha1.SpreadRequired
	server.Tolerations = []corev1.Toleration{{Key: "storage", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
	server.Resources = &corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("4Gi")},
	}
	golden.AllSet(t, server.PodSettings)
	set, err := StatefulSet(s)
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "statefulset-all-fields", set)
}

func withExports(s *Shard) {
	s.Backend.Spec.Server.Access = &v1alpha1.VolumeAccess{Mode: v1alpha1.AccessCIDRs, CIDRs: []v1alpha1.CIDR{"10.0.0.0/8"}}
	s.Backend.Spec.Server.Exports = []v1alpha1.StaticExport{
		{Name: "elsewhere", Shard: 1, Size: resource.MustParse("1Gi"), Squash: "Root"},
		{
			Name: "media", Path: "team/media", Size: resource.MustParse("1Gi"), Squash: "Root", AnonymousUID: 65534, AnonymousGID: 4294967294,
			Clients: []v1alpha1.ExportClient{{CIDR: "192.0.2.0/24", Access: v1alpha1.ExportReadWrite}, {CIDR: "fd00::/48", Access: v1alpha1.ExportReadOnly}},
		},
		{Name: "home", Size: resource.MustParse("0"), Squash: "All"},
	}
}

func TestExportsReachTheirShardsAgentOnly(t *testing.T) {
	s := testShard()
	withExports(&s)
	c, err := ConfigMap(s)
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "configmap-exports", c)
	got, err := config.ParseExports([]byte(c.Data[names.KeyAgentExports]))
	if err != nil || len(got.Exports) != 2 || len(got.AccessCIDRs) != 1 {
		t.Errorf("the agent reads %+v, %v", got, err)
	}
}

func testVolume() *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "disk-0"},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/dev/vdb"}},
		},
	}
}

func TestTemplateHashFollowsConfigurationButNotTheKindOfDisk(t *testing.T) {
	hash := func(change func(*Shard)) string {
		s := testShard()
		change(&s)
		hash, err := TemplateHash(s)
		if err != nil {
			t.Fatal(err)
		}
		return hash
	}
	base := hash(func(*Shard) {})
	for name, change := range map[string]func(*Shard){
		"image":      func(s *Shard) { s.Image = "other" },
		"lease":      func(s *Shard) { s.Backend.Spec.Server.LeaseSeconds = 20 },
		"overcommit": func(s *Shard) { s.Backend.Spec.Server.OvercommitPercent = 200 },
	} {
		if hash(change) == base {
			t.Errorf("%s changed, and the hash did not", name)
		}
	}
	for name, change := range map[string]func(*Shard){
		"disk":    func(s *Shard) { s.DiskOnNetwork = true },
		"address": func(s *Shard) { s.Address = "10.96.0.7" },
		"in use":  func(s *Shard) { s.InUse = true },
		"exports": withExports,
	} {
		if hash(change) != base {
			t.Errorf("the hash follows %s, which is no reason to restart a server", name)
		}
	}
}

func TestClaimNeverShrinksNorChangesItsClass(t *testing.T) {
	s := testShard()
	old := "old-class"
	s.Claim = &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{
		StorageClassName: &old,
		Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("50Gi")}},
	}}
	claim := Claim(s)
	if got := (*claim.Spec.Resources.Requests)[corev1.ResourceStorage]; got.String() != "50Gi" {
		t.Errorf("size is %s", got.String())
	}
	if got := *claim.Spec.StorageClassName; got != old {
		t.Errorf("class is %s", got)
	}
}

func TestOnNetwork(t *testing.T) {
	affinity := func(key string) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{NodeAffinity: &corev1.VolumeNodeAffinity{
			Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{"x"}}},
			}}},
		}}}
	}
	for name, test := range map[string]struct {
		volume *corev1.PersistentVolume
		want   bool
	}{
		"local":            {testVolume(), false},
		"topolvm":          {affinity("topology.topolvm.io/node"), false},
		"host name":        {affinity(corev1.LabelHostname), false},
		"zone":             {affinity(corev1.LabelTopologyZone), true},
		"without affinity": {&corev1.PersistentVolume{}, true},
	} {
		if got := OnNetwork(test.volume); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestFormerPolicyIsNotedOnce(t *testing.T) {
	s, volume := testShard(), testVolume()
	volume.Annotations = ProtectedVolume(s, volume).Annotations
	volume.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
	if got := *ReleasedVolume(volume).Spec.PersistentVolumeReclaimPolicy; got != corev1.PersistentVolumeReclaimDelete {
		t.Errorf("released with %s", got)
	}
}
