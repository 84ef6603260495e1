package metricsauth

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestFilter(t *testing.T) {
	for name, test := range map[string]struct {
		header                 string
		authenticated, allowed bool
		broken                 error
		want                   int
	}{
		"no token":      {want: http.StatusUnauthorized},
		"not a bearer":  {header: "Basic abc", want: http.StatusUnauthorized},
		"unknown token": {header: "Bearer x", want: http.StatusUnauthorized},
		"no right":      {header: "Bearer x", authenticated: true, want: http.StatusForbidden},
		"allowed":       {header: "Bearer x", authenticated: true, allowed: true, want: http.StatusOK},
		"API is away":   {header: "Bearer x", broken: errors.New("away"), want: http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			clientset := fake.NewClientset()
			clientset.PrependReactor("create", "tokenreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, &authenticationv1.TokenReview{Status: authenticationv1.TokenReviewStatus{
					Authenticated: test.authenticated, User: authenticationv1.UserInfo{Username: "prometheus"},
				}}, test.broken
			})
			clientset.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
				review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview)
				if a := review.Spec.NonResourceAttributes; a.Path != "/metrics" || a.Verb != "get" || review.Spec.User != "prometheus" {
					t.Errorf("asked about %+v of %s", a, review.Spec.User)
				}
				review.Status.Allowed = test.allowed
				return true, review, nil
			})
			handler, err := New(clientset)(logr.Discard(), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			if err != nil {
				t.Fatal(err)
			}
			request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
			request.Header.Set("Authorization", test.header)
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, request)
			if recorder.Code != test.want {
				t.Errorf("got %d, want %d", recorder.Code, test.want)
			}
		})
	}
}
