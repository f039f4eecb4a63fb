package picture_test

import (
	"os"
	"testing"

	"github.com/loginwall/loginwall/internal/hygiene"
)

func TestMain(m *testing.M) {
	os.Exit(hygiene.Tests{M: m}.Run())
}
