package agentv1

// Why a server does not serve: the words of ServerStatus.reason.
const (
	ReasonStarting          = "Starting"
	ReasonStopping          = "Stopping"
	ReasonDeviceUnavailable = "DeviceUnavailable"
	ReasonDeviceNotBlank    = "DeviceNotBlank"
	ReasonDeviceTooSmall    = "DeviceTooSmall"
	ReasonFormatting        = "Formatting"
	ReasonFormatFailed      = "FormatFailed"
	ReasonMountFailed       = "MountFailed"
	ReasonDiskFailed        = "DiskFailed"
	ReasonNewerFormat       = "NewerFormat"
	ReasonHandleWouldChange = "HandleWouldChange"
	ReasonDiskChanged       = "DiskChanged"
	ReasonRepairFailed      = "RepairFailed"
	ReasonGaneshaStarting   = "GaneshaStarting"
	ReasonGaneshaFailed     = "GaneshaFailed"

	// Of a file system that others have made and mounted.
	ReasonFilesystemShared      = "FilesystemShared"
	ReasonFilesystemUnsupported = "FilesystemUnsupported"
	ReasonFilesystemNotEmpty    = "FilesystemNotEmpty"
	ReasonFilesystemChanged     = "FilesystemChanged"
	ReasonFilesystemReadOnly    = "FilesystemReadOnly"
	// ReasonFilesystemFailed asks for another pod: the kubelet mounts the file system anew only for that.
	ReasonFilesystemFailed = "FilesystemFailed"

	ReasonShareUnreachable  = "ShareUnreachable"
	ReasonShareRefused      = "ShareRefused"
	ReasonSharePathMissing  = "SharePathMissing"
	ReasonShareOptions      = "ShareOptions"
	ReasonShareReadOnly     = "ShareReadOnly"
	ReasonShareRootSquashed = "ShareRootSquashed"
	ReasonShareIDMapping    = "ShareIDMapping"
	ReasonShareNotEmpty     = "ShareNotEmpty"
	ReasonShareOwned        = "ShareOwned"
	ReasonShareChanged      = "ShareChanged"
	ReasonShareLocked       = "ShareLocked"
	ReasonShareFailed       = "ShareFailed"
)

// Attention is who has to do something about a reason.
type Attention int

const (
	// Passes is an ordinary step, which ends by itself.
	Passes Attention = iota
	// Watch is a failure that is tried again, and may pass: people should look.
	Watch
	// NeedsPerson is a failure that stays until a person does something.
	NeedsPerson
)

// Attentions are those of all reasons.
var Attentions = map[string]Attention{
	ReasonStarting: Passes, ReasonStopping: Passes, ReasonFormatting: Passes, ReasonGaneshaStarting: Passes,

	ReasonDeviceUnavailable: Watch, ReasonMountFailed: Watch, ReasonDiskFailed: Watch, ReasonGaneshaFailed: Watch,
	ReasonFilesystemFailed: Watch,
	ReasonShareUnreachable: Watch, ReasonShareLocked: Watch, ReasonShareFailed: Watch,

	ReasonDeviceNotBlank: NeedsPerson, ReasonDeviceTooSmall: NeedsPerson, ReasonFormatFailed: NeedsPerson, ReasonNewerFormat: NeedsPerson,
	ReasonHandleWouldChange: NeedsPerson, ReasonRepairFailed: NeedsPerson, ReasonDiskChanged: NeedsPerson,
	ReasonFilesystemShared: NeedsPerson, ReasonFilesystemUnsupported: NeedsPerson, ReasonFilesystemNotEmpty: NeedsPerson, ReasonFilesystemChanged: NeedsPerson,
	ReasonFilesystemReadOnly: NeedsPerson,
	ReasonShareRefused:       NeedsPerson, ReasonSharePathMissing: NeedsPerson, ReasonShareOptions: NeedsPerson, ReasonShareReadOnly: NeedsPerson,
	ReasonShareRootSquashed: NeedsPerson, ReasonShareIDMapping: NeedsPerson, ReasonShareNotEmpty: NeedsPerson, ReasonShareOwned: NeedsPerson,
	ReasonShareChanged: NeedsPerson,
}
