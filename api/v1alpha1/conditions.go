package v1alpha1

// Condition types of all kinds, after kstatus: a client that knows nothing of these kinds can still tell whether an
// object is done, in progress or stuck.
const (
	// ConditionReady is True when the object does what its spec says, Unknown while it is being brought there, and
	// False only together with Stalled.
	ConditionReady = "Ready"
	// ConditionReconciling is True while the controller works on the object.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when nothing goes on without a person.
	ConditionStalled = "Stalled"
	// ConditionInUse is True while an NFSBackend holds data or a node may have one of its volumes mounted.
	ConditionInUse = "InUse"
	// ConditionUnprivilegedNodes is True while connections of nodes to an NFSBackend's servers do not come from
	// privileged ports, so that these nodes mount with noresvport.
	ConditionUnprivilegedNodes = "UnprivilegedNodes"
	// ConditionPaused is True while an annotation keeps the controller from changing anything; it is absent otherwise.
	ConditionPaused = "Paused"
	// ConditionMountOptionsDiffer is True while StorageProfiles of one NFSBackend ask for connections that a node cannot make
	// for each of them: what its first mount from a server asked for holds for all. It is absent otherwise.
	ConditionMountOptionsDiffer = "MountOptionsDiffer"
	// ConditionReleased is there while an NFSBackend is being deleted and holds nothing: False while it is watched for a
	// moment whether it stays so, True from when its servers may stop.
	ConditionReleased = "Released"
)
