// Package quantities keeps figures of statuses from being written for nothing.
package quantities

import "k8s.io/apimachinery/pkg/api/resource"

// Steady is the last figure while the new one differs by less than a twentieth of it: each write has all who watch the object look
// at it again. What became nothing, or more than nothing, is told. Each may be nil: not known.
func Steady(last, now *resource.Quantity) *resource.Quantity {
	const part = 20
	if last == nil || now == nil || last.Sign() != now.Sign() {
		return now
	}
	difference := max(last.Value(), now.Value()) - min(last.Value(), now.Value())
	if difference < now.Value()/part {
		return last
	}
	return now
}
