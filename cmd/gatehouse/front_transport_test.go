// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

func TestFrontBeforeTLS(t *testing.T) {
	direct := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host) }))
	defer direct.Close()
	direct.Config.ErrorLog = nil
	if got := text(newClient(t).Get(startFront(t, "--to", direct.URL, "--insecure").url)); got != strings.TrimPrefix(direct.URL, "https://") {
		t.Errorf("the application sees the host %s, want its own", got)
	}
	if got := text(newClient(t).Get(startFront(t, "--to", direct.URL).url)); !strings.HasPrefix(got, "502 ") {
		t.Errorf("with a certificate that nobody vouches for: %s", got)
	}
}

func TestFrontBeforeHTTP2(t *testing.T) {
	direct := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	direct.Config.Protocols = new(http.Protocols)
	direct.Config.Protocols.SetUnencryptedHTTP2(true)
	direct.Start()
	defer direct.Close()
	f := startFront(t, "--to", "h2c://"+host(direct.URL))
	if got := text(newClient(t).Get(f.url)); got != "HTTP/2.0" {
		t.Errorf("the application sees %s", got)
	}
}

func TestFrontBeforeUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	direct := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host) }))
	direct.Listener.Close()
	direct.Listener = l
	direct.Start()
	defer direct.Close()
	f := startFront(t, "--to", "unix/"+path)
	if got := text(newClient(t).Get(f.url)); got != host(f.url) {
		t.Errorf("the application sees the host %s, want the client's", got)
	}
}

func TestFrontChangesTheHostHeader(t *testing.T) {
	direct := goApplication(t, t.TempDir())
	if f := startFront(t, "--to", host(direct.URL)); text(newClient(t).Get(f.url+"/host")) != host(f.url) {
		t.Error("without the option the application does not see the client's host")
	}
	if f := startFront(t, "--to", host(direct.URL), "-c"); text(newClient(t).Get(f.url+"/host")) != host(direct.URL) {
		t.Error("with the option the application does not see its own host")
	}
}

// TestFrontServesHTTPS takes a certificate from front's own authority, for a name and for an address.
func TestFrontServesHTTPS(t *testing.T) {
	direct := goApplication(t, t.TempDir())
	for _, name := range []string{"localhost", "127.0.0.1"} {
		_, port, _ := strings.Cut(gatehousetest.FreeAddress(t), ":")
		url := "https://" + name + ":" + port
		f := start(t, binary(t), "front", "--from", url, "--to", host(direct.URL), "--admin", "off", "-i", "-r")
		f.says("front serves " + url)
		client := newClient(t)
		client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // a fresh authority
		client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
		var resp *http.Response
		eventually(t, 10*time.Second, url+" has its certificate", func() bool {
			var err error
			resp, err = client.Get(url + "/host")
			return err == nil
		})
		proto := resp.Proto
		if got := text(resp, nil); proto != "HTTP/2.0" || got != name+":"+port {
			t.Errorf("%s: %s, host %s", url, proto, got)
		}
	}
}
