package driver

import (
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

func TestParseCreateVolumeRefuses(t *testing.T) {
	parameter := func(key, value string) func(*csi.CreateVolumeRequest) {
		return func(r *csi.CreateVolumeRequest) { r.Parameters[key] = value }
	}
	tests := map[string]struct {
		change  func(*csi.CreateVolumeRequest)
		code    codes.Code
		message string
	}{
		"no name":          {func(r *csi.CreateVolumeRequest) { r.Name = "" }, codes.InvalidArgument, "name"},
		"long name":        {func(r *csi.CreateVolumeRequest) { r.Name = strings.Repeat("x", 129) }, codes.InvalidArgument, "128"},
		"no capabilities":  {func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities = nil }, codes.InvalidArgument, "capabilities"},
		"no profile":       {func(r *csi.CreateVolumeRequest) { r.Parameters = nil }, codes.InvalidArgument, `"profile"`},
		"other parameter":  {parameter("server", "10.0.0.1"), codes.InvalidArgument, `"server"`},
		"path as profile":  {parameter("profile", "../x"), codes.InvalidArgument, "../x"},
		"path as claim":    {parameter(parameterClaimName, "../../etc"), codes.InvalidArgument, parameterClaimName},
		"empty claim":      {parameter(parameterClaimName, ""), codes.InvalidArgument, parameterClaimName},
		"class parameters": {parameter("csi.storage.k8s.io/fstype", "ext4"), codes.InvalidArgument, "fstype"},
		"mutable parameters": {
			func(r *csi.CreateVolumeRequest) { r.MutableParameters = map[string]string{"tier": "gold"} }, codes.InvalidArgument, `"tier": known are anonymousGID`,
		},
		"block": {
			func(r *csi.CreateVolumeRequest) {
				r.VolumeCapabilities[0].AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
			}, codes.InvalidArgument, "Block",
		},
		"no access mode": {
			func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities[0].AccessMode = nil }, codes.InvalidArgument, "access mode",
		},
		"no access type": {
			func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities[0].AccessType = nil }, codes.InvalidArgument, "access type",
		},
		"too many connections": {
			func(r *csi.CreateVolumeRequest) {
				r.VolumeCapabilities[0].GetMount().MountFlags = []string{"nconnect=16"}
			}, codes.InvalidArgument, "nconnect=16",
		},
		"negative size": {
			func(r *csi.CreateVolumeRequest) { r.CapacityRange.RequiredBytes = -1 }, codes.InvalidArgument, "negative",
		},
		"limit below size": {
			func(r *csi.CreateVolumeRequest) { r.CapacityRange.LimitBytes = gib - 1 }, codes.InvalidArgument, "limits",
		},
		"limit below the smallest": {
			func(r *csi.CreateVolumeRequest) { r.CapacityRange = &csi.CapacityRange{LimitBytes: 1000} }, codes.OutOfRange, "smallest",
		},
		"empty source": {
			func(r *csi.CreateVolumeRequest) { r.VolumeContentSource = &csi.VolumeContentSource{} }, codes.InvalidArgument, "source",
		},
		"export as source": {
			func(r *csi.CreateVolumeRequest) { r.VolumeContentSource = fromVolume("main/0/e-shared") }, codes.InvalidArgument, "static export",
		},
		"source that cannot be": {
			func(r *csi.CreateVolumeRequest) { r.VolumeContentSource = fromVolume("main/0/../../etc") }, codes.NotFound, "main/0/",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			req := createRequest("pvc-1")
			test.change(req)
			_, err := parseCreateVolume(req)
			err = toStatus(err)
			wantCode(t, err, test.code)
			if !strings.Contains(status.Convert(err).Message(), test.message) {
				t.Errorf("message %q does not say %q", err, test.message)
			}
		})
	}
}

func fromVolume(handle string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
		Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: handle},
	}}
}

func fromSnapshot(handle string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: handle},
	}}
}

func TestEveryAccessModeIsAccepted(t *testing.T) {
	for number, name := range csi.VolumeCapability_AccessMode_Mode_name {
		mode := csi.VolumeCapability_AccessMode_Mode(number)
		if mode == csi.VolumeCapability_AccessMode_UNKNOWN {
			continue
		}
		if err := checkCapability(capability(mode)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if singleNode(mode) != strings.HasPrefix(name, "SINGLE_NODE") {
			t.Errorf("singleNode(%s) = %v", name, singleNode(mode))
		}
		if readOnly(mode) != strings.HasSuffix(name, "READER_ONLY") {
			t.Errorf("readOnly(%s) = %v", name, readOnly(mode))
		}
	}
}

func TestVolumeSpecCopiesTheProfile(t *testing.T) {
	p := profile("gold", "main")
	p.Spec.Directory = v1alpha1.DirectoryOptions{Mode: "2770", UID: ptr.To[int64](1000), GID: ptr.To[int64](4294967294)}
	p.Spec.Squash = v1alpha1.SquashOptions{Mode: v1alpha1.SquashRoot, AnonymousUID: ptr.To[int64](99)}
	p.Spec.OnDelete = v1alpha1.OnDeleteArchive
	p.Spec.MaxVolumeSize = ptr.To(resource.MustParse("2Gi"))
	got, err := createVolume{name: "pvc-1", required: gib, claimNamespace: "ns", claimName: "data"}.volumeSpec(p)
	want := &agentv1.VolumeSpec{
		Bytes: gib, Mode: 0o2770, Uid: 1000, Gid: 4294967294, Squash: agentv1.Squash_SQUASH_ROOT, AnonymousUid: 99,
		AnonymousGid: 65534, OnDelete: agentv1.OnDelete_ON_DELETE_ARCHIVE, Profile: "gold", MaxBytes: 2 * gib,
		ClaimNamespace: "ns", ClaimName: "data",
	}
	if err != nil || !proto.Equal(got, want) {
		t.Errorf("got  %v, %v\nwant %v", got, err, want)
	}
	plain, err := createVolume{}.volumeSpec(profile("plain", "main"))
	want = &agentv1.VolumeSpec{
		Bytes: gib, Mode: 0o777, Squash: agentv1.Squash_SQUASH_NONE, AnonymousUid: 65534, AnonymousGid: 65534,
		OnDelete: agentv1.OnDelete_ON_DELETE_DELETE, Profile: "plain",
	}
	if err != nil || !proto.Equal(plain, want) {
		t.Errorf("got  %v, %v\nwant %v", plain, err, want)
	}
}

func TestSize(t *testing.T) {
	tests := map[string]struct {
		required, limit int64
		least, most     string
		want            int64
		code            codes.Code
	}{
		"as required":             {required: 5 * gib, want: 5 * gib},
		"tiny":                    {required: 1, want: mib},
		"nothing asked":           {want: gib},
		"nothing asked but limit": {limit: 10 * mib, want: 10 * mib},
		"nothing asked, small":    {most: "512Mi", want: 512 * mib},
		"nothing asked, large":    {least: "2Gi", want: 2 * gib},
		"at the bounds":           {required: gib, least: "1Gi", most: "1Gi", want: gib},
		"below the minimum":       {required: gib - 1, least: "1Gi", code: codes.OutOfRange},
		"above the maximum":       {required: gib + 1, most: "1Gi", code: codes.OutOfRange},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := profile("p", "main")
			if test.least != "" {
				p.Spec.MinVolumeSize = ptr.To(resource.MustParse(test.least))
			}
			if test.most != "" {
				p.Spec.MaxVolumeSize = ptr.To(resource.MustParse(test.most))
			}
			got := createVolume{required: test.required, limit: test.limit}.bytes(p)
			err := checkSize(got, p)
			wantCode(t, err, test.code)
			if err == nil && got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
			if err != nil && !strings.Contains(err.Error(), `StorageProfile "p"`) {
				t.Errorf("message %q does not name the rule", err)
			}
		})
	}
}

func TestCheckPath(t *testing.T) {
	if err := checkPath("target_path", "/var/lib/kubelet/pods/x/mount"); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"", "/", ".", "..", "a/b", "/a/../b", "/a//b", "/a/", "/a/.", "/a\x00b", "../../etc"} {
		wantCode(t, checkPath("target_path", path), codes.InvalidArgument)
	}
}

// FuzzParameters proves that only names of Kubernetes objects come through.
func FuzzParameters(f *testing.F) {
	f.Add("profile", "standard")
	f.Add(parameterClaimName, "../x")
	f.Add("x", "y")
	f.Fuzz(func(t *testing.T, key, value string) {
		req := createRequest("pvc-1")
		req.Parameters[key] = value
		r, err := parseCreateVolume(req)
		if err != nil {
			if c := status.Code(err); c != codes.InvalidArgument {
				t.Fatalf("%q=%q: %v", key, value, err)
			}
			return
		}
		for _, name := range []string{r.profile, r.claimName, r.claimNamespace} {
			if strings.ContainsAny(name, "/\x00\n ") || strings.Contains(name, "..") || len(name) > 253 {
				t.Fatalf("%q=%q came through as %q", key, value, name)
			}
		}
	})
}

func TestAttributes(t *testing.T) {
	given, err := parseAttributes(map[string]string{
		"squash": "All", "anonymousUID": "0", "anonymousGID": "4294967294", "onDelete": "Retain", "inodes": "100000",
	})
	if err != nil {
		t.Fatal(err)
	}
	spec := &agentv1.VolumeSpec{Bytes: 1, Squash: agentv1.Squash_SQUASH_ROOT, AnonymousUid: 5}
	given.apply(spec)
	want := &agentv1.VolumeSpec{
		Bytes: 1, Squash: agentv1.Squash_SQUASH_ALL, AnonymousGid: 4294967294, OnDelete: agentv1.OnDelete_ON_DELETE_RETAIN, Inodes: 100000,
	}
	if !proto.Equal(spec, want) {
		t.Errorf("got %v, want %v", spec, want)
	}
	if usual, err := parseAttributes(map[string]string{"inodes": "default"}); err != nil || usual.inodes == nil || *usual.inodes != 0 {
		t.Errorf("the usual number of inodes: %v, %v", usual.inodes, err)
	}
	for key, values := range map[string][]string{
		"squash": {"", "none", "Nobody"}, "onDelete": {"", "delete", "Shred"},
		"anonymousUID": {"", "-1", "4294967295", "root", "0x10", "1 "}, "anonymousGID": {"99999999999999"},
		"inodes": {"", "0", "-5", "1e6", "9223372036854775808", "Default"},
		"bytes":  {"1"}, "": {""}, "Squash": {"All"},
	} {
		for _, value := range values {
			_, err := parseAttributes(map[string]string{key: value})
			wantCode(t, err, codes.InvalidArgument)
			if err != nil && !strings.Contains(err.Error(), `"`+key+`"`) {
				t.Errorf("message %q does not name %q", err, key)
			}
		}
	}
}

// FuzzAttributes proves that what is accepted is what was written.
func FuzzAttributes(f *testing.F) {
	for _, seed := range [][2]string{{"squash", "All"}, {"anonymousUID", "4294967295"}, {"inodes", "-1"}, {"onDelete", "Archive"}, {"x", "y"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		a, err := parseAttributes(map[string]string{key: value})
		if err != nil {
			if c := status.Code(err); c != codes.InvalidArgument {
				t.Fatalf("%q=%q: %v", key, value, err)
			}
			return
		}
		spec := &agentv1.VolumeSpec{Inodes: -1}
		a.apply(spec)
		switch key {
		case attributeInodes:
			if spec.GetInodes() < 0 {
				t.Fatalf("%q=%q became %d inodes", key, value, spec.GetInodes())
			}
		case attributeAnonymousUID, attributeAnonymousGID:
			if spec.GetAnonymousUid() == 1<<32-1 || spec.GetAnonymousGid() == 1<<32-1 {
				t.Fatalf("%q=%q became no id", key, value)
			}
		case attributeSquash, attributeOnDelete:
			if spec.GetSquash() == 0 && spec.GetOnDelete() == 0 {
				t.Fatalf("%q=%q became nothing", key, value)
			}
		default:
			t.Fatalf("%q=%q was accepted", key, value)
		}
	})
}
