package uml

import (
	"debug/elf"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// ModuleFiles returns the files of the named kernel modules and of all that they depend on, in an order in which they can
// be loaded. A name without a file is left out: it is built into the kernel, or this kernel does not have it.
func ModuleFiles(names []string) ([]string, error) {
	all, err := indexModules(modulesRoot)
	if err != nil {
		return nil, err
	}
	return loadOrder(names, all, moduleDepends)
}

// indexModules maps the name of each module below root to its file.
func indexModules(root string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".ko") {
			files[moduleName(strings.TrimSuffix(d.Name(), ".ko"))] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the kernel modules: %w", err)
	}
	return files, nil
}

func loadOrder(names []string, files map[string]string, depends func(file string) ([]string, error)) ([]string, error) {
	var order []string
	seen := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		name = moduleName(name)
		file, ok := files[name]
		if !ok || seen[name] {
			return nil
		}
		seen[name] = true
		needs, err := depends(file)
		if err != nil {
			return err
		}
		for _, n := range needs {
			if err := visit(n); err != nil {
				return err
			}
		}
		order = append(order, file)
		return nil
	}
	for _, n := range names {
		if err := visit(n); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// moduleName is the kernel's own spelling: file names use both "-" and "_".
func moduleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

// moduleDepends reads the line "depends=a,b" of the section .modinfo.
func moduleDepends(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, fmt.Errorf("open module %s: %w", file, err)
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, nil
	}
	data, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", file, err)
	}
	return parseDepends(string(data)), nil
}

func parseDepends(modinfo string) []string {
	var names []string
	for entry := range strings.SplitSeq(modinfo, "\x00") {
		key, value, _ := strings.Cut(entry, "=")
		if key == "depends" && value != "" {
			names = append(names, strings.Split(value, ",")...)
		}
	}
	return names
}
