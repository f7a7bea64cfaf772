// The programs that benches/apply compares with: `peer floor|flux KUBECONFIG NAMESPACE FILE`.
//
// floor sends one server-side apply for each object, eight at a time, and nothing else: no read, no
// dry run. flux calls ApplyAll of fluxcd/pkg/ssa with the same concurrency, without a client-side
// rate limit.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/utils"
	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const maxConcurrent = 8

func main() {
	log.SetLogger(logr.Discard())
	mode, kubeconfig, namespace, file := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	text, err := os.ReadFile(file)
	check(err)
	objects, err := utils.ReadObjects(bytes.NewReader(text))
	check(err)
	for _, object := range objects {
		object.SetNamespace(namespace)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	check(err)
	config.QPS = -1
	begun := time.Now()
	// Both apply in this order. The time to sort is negligible.
	sort.Sort(ssa.SortableUnstructureds(objects))
	if mode == "floor" {
		floor(dynamic.NewForConfigOrDie(config), objects)
	} else {
		flux, err := client.New(config, client.Options{})
		check(err)
		manager := ssa.NewResourceManager(flux, polling.NewStatusPoller(flux, flux.RESTMapper(), polling.Options{}), ssa.Owner{Field: "peer"})
		manager.SetConcurrency(maxConcurrent)
		_, err = manager.ApplyAll(context.Background(), objects, ssa.DefaultApplyOptions())
		check(err)
	}
	fmt.Printf("%.3f\n", time.Since(begun).Seconds())
}

func floor(cluster dynamic.Interface, objects []*unstructured.Unstructured) {
	queue := make(chan *unstructured.Unstructured)
	var group sync.WaitGroup
	for range maxConcurrent {
		group.Add(1)
		go func() {
			defer group.Done()
			for object := range queue {
				kind := object.GroupVersionKind()
				resource := schema.GroupVersionResource{Group: kind.Group, Version: kind.Version, Resource: strings.ToLower(kind.Kind) + "s"}
				body, err := object.MarshalJSON()
				check(err)
				force := true
				_, err = cluster.Resource(resource).Namespace(object.GetNamespace()).Patch(context.Background(), object.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: "peer", Force: &force})
				check(err)
			}
		}()
	}
	for _, object := range objects {
		queue <- object
	}
	close(queue)
	group.Wait()
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
