package ganesha

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	busName        = "org.ganesha.nfsd"
	exportPath     = dbus.ObjectPath("/org/ganesha/nfsd/ExportMgr")
	exportIface    = "org.ganesha.nfsd.exportmgr."
	busCallTimeout = 30 * time.Second
)

// busConfig is the configuration of the D-Bus between the agent and Ganesha: no other user may speak on it, and it serves
// nothing else.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>%s</listen>
  <auth>EXTERNAL</auth>
  <policy user="root">
    <allow own="org.ganesha.nfsd"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
`

// bus is a connection to a running Ganesha. Ganesha fails calls that overlap: one goroutine uses a bus.
type bus struct {
	conn   *dbus.Conn
	object dbus.BusObject
	file   string // where a single export is handed over
}

func dialBus(ctx context.Context, address, file string) (*bus, error) {
	conn, err := dbus.Connect(address, dbus.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("connect to D-Bus: %w", err)
	}
	return &bus{conn: conn, object: conn.Object(busName, exportPath), file: file}, nil
}

func (b *bus) close() { _ = b.conn.Close() }

func (b *bus) call(ctx context.Context, method string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, busCallTimeout)
	defer cancel()
	if err := b.object.CallWithContext(ctx, exportIface+method, 0, args...).Err; err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// show asks for the list of exports, to see that Ganesha answers.
func (b *bus) show(ctx context.Context) error { return b.call(ctx, "ShowExports") }

// add makes an export that is not there; one that is there gets its new clients.
func (b *bus) add(ctx context.Context, id uint16, text string) error {
	err := b.change(ctx, "AddExport", id, text)
	if hasMessage(err, "already active") {
		return b.update(ctx, id, text)
	}
	return err
}

// update replaces an export's clients and squashing.
func (b *bus) update(ctx context.Context, id uint16, text string) error {
	return b.change(ctx, "UpdateExport", id, text)
}

func (b *bus) change(ctx context.Context, method string, id uint16, text string) error {
	if err := os.WriteFile(b.file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write export: %w", err)
	}
	return b.call(ctx, method, b.file, fmt.Sprintf("EXPORT(Export_Id=%d)", id))
}

// remove ends an export. That it is not there is fine.
func (b *bus) remove(ctx context.Context, id uint16) error {
	err := b.call(ctx, "RemoveExport", id)
	if hasMessage(err, "id not found") {
		return nil
	}
	return err
}

// hasMessage looks into the text of Ganesha's answer: the name of the error is the same for other faults.
func hasMessage(err error, text string) bool {
	var answer dbus.Error
	return errors.As(err, &answer) && strings.Contains(answer.Error(), text)
}

// isRefusal tells an answer of Ganesha, or an export that cannot be written down, from a connection that does not work.
func isRefusal(err error) bool {
	if errors.Is(err, ErrUnsafe) {
		return true
	}
	var answer dbus.Error
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.Name {
	case "org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.ServiceUnknown",
		"org.freedesktop.DBus.Error.Disconnected", "org.freedesktop.DBus.Error.NameHasNoOwner":
		return false
	default:
		return true
	}
}
