// front serves FRONT_LISTEN and passes to FRONT_BACKEND what comes with the name FRONT_USER and the password FRONT_PASSWORD.
// With FRONT_TLS=1 it speaks TLS with a certificate that it signs itself, as Open Distro's demo certificates are.
// /bed/ready needs no password: it says whether the cluster has all of FRONT_NODES nodes.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"
)

func main() {
	backend, err := url.Parse(os.Getenv("FRONT_BACKEND"))
	if err != nil {
		log.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(backend)
	http.HandleFunc("/bed/ready", func(w http.ResponseWriter, r *http.Request) {
		answer, err := http.Get(backend.String() + "/_cluster/health?timeout=1s&wait_for_nodes=" + os.Getenv("FRONT_NODES"))
		if err != nil || answer.StatusCode != http.StatusOK {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if err == nil {
			answer.Body.Close()
		}
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if !same(user, os.Getenv("FRONT_USER")) || !same(password, os.Getenv("FRONT_PASSWORD")) {
			w.Header().Set("WWW-Authenticate", `Basic realm="Open Distro Security"`)
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		r.Header.Del("Authorization")
		proxy.ServeHTTP(w, r)
	})
	listener, err := net.Listen("tcp", os.Getenv("FRONT_LISTEN"))
	if err != nil {
		log.Fatal(err)
	}
	if os.Getenv("FRONT_TLS") != "" {
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{selfSigned()}})
	}
	log.Fatal(http.Serve(listener, nil))
}

func same(given, wanted string) bool { return subtle.ConstantTimeCompare([]byte(given), []byte(wanted)) == 1 }

func selfSigned() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "node-0.example.com"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(10, 0, 0),
		DNSNames:     []string{"localhost"},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		log.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{certificate}, PrivateKey: key}
}
