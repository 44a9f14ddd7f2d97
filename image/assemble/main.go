// assemble makes an OCI layout of layers: one image for each platform, and the index that names them.
//
//	assemble -config FILE -labels FILE -reference NAME -created TIME FOLDER PLATFORM=LAYER,LAYER...
//
// A layer is a tar.gz, the lowest comes first; the folder must not exist. What was written is read again and validated.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func main() {
	log.SetFlags(0)
	configFile := flag.String("config", "", "the container's configuration, as JSON")
	labelsFile := flag.String("labels", "", "labels of each image and annotations of the index, as JSON")
	reference := flag.String("reference", "", "NAME:TAG that the archive is loaded as")
	created := flag.String("created", "", "time in the form of RFC 3339")
	flag.Parse()
	if err := assemble(*configFile, *labelsFile, *reference, *created, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

func assemble(configFile, labelsFile, reference, created string, args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("name the folder and at least one PLATFORM=LAYER,LAYER")
	}
	var config v1.Config
	if err := read(configFile, &config); err != nil {
		return err
	}
	if err := read(labelsFile, &config.Labels); err != nil {
		return err
	}
	at, err := time.Parse(time.RFC3339, created)
	if err != nil {
		return err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arg := range args[1:] {
		platform, layers, _ := strings.Cut(arg, "=")
		added, err := image(config, at, platform, strings.Split(layers, ","))
		if err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
		index = mutate.AppendManifests(index, *added)
	}
	index = mutate.Annotations(index, config.Labels).(v1.ImageIndex)
	written, err := layout.Write(args[0], empty.Index)
	if err != nil {
		return err
	}
	// The first name is for containerd, the second for everybody else.
	name := layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          reference,
		"org.opencontainers.image.ref.name": reference[strings.LastIndex(reference, ":")+1:],
	})
	if err := written.AppendIndex(index, name); err != nil {
		return err
	}
	top, err := written.ImageIndex()
	if err != nil {
		return err
	}
	return validate.Index(top)
}

func image(config v1.Config, created time.Time, platform string, files []string) (*mutate.IndexAddendum, error) {
	parsed, err := v1.ParsePlatform(platform)
	if err != nil {
		return nil, err
	}
	nothing := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	result, err := mutate.ConfigFile(nothing, &v1.ConfigFile{
		Architecture: parsed.Architecture,
		OS:           parsed.OS,
		Config:       config,
		Created:      v1.Time{Time: created},
		RootFS:       v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		layer, err := tarball.LayerFromFile(file, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return nil, err
		}
		added := mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: created}, CreatedBy: "image/build.ts"}}
		if result, err = mutate.Append(result, added); err != nil {
			return nil, err
		}
	}
	return &mutate.IndexAddendum{Add: result, Descriptor: v1.Descriptor{Platform: parsed}}, nil
}

func read(file string, value any) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, value)
}
