package web

import (
	"math"
	"strconv"
)

// defaultColor is the accent of pages that belong to no tenant: a deep slate blue, 7.5:1 against white.
const defaultColor = "#2f4f7f"

// rgb is a colour of "#rrggbb".
type rgb struct{ r, g, b uint8 }

// parseColor reads "#rrggbb"; anything else is the default, since the text ends up in a style.
func parseColor(s string) rgb {
	if len(s) == 7 && s[0] == '#' {
		if n, err := strconv.ParseUint(s[1:], 16, 32); err == nil {
			return rgb{uint8(n >> 16), uint8(n >> 8), uint8(n)}
		}
	}
	return parseColor(defaultColor)
}

func (c rgb) String() string {
	n := uint64(1)<<24 | uint64(c.r)<<16 | uint64(c.g)<<8 | uint64(c.b)
	return "#" + strconv.FormatUint(n, 16)[1:]
}

// luminance is the relative luminance of WCAG 2.2.
func (c rgb) luminance() float64 {
	linear := func(v uint8) float64 {
		f := float64(v) / 255
		if f <= 0.04045 {
			return f / 12.92
		}
		return math.Pow((f+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c.r) + 0.7152*linear(c.g) + 0.0722*linear(c.b)
}

// contrast is the contrast ratio of WCAG 2.2, 1 to 21.
func contrast(a, b rgb) float64 {
	la, lb := a.luminance(), b.luminance()
	if la < lb {
		la, lb = lb, la
	}
	return (la + 0.05) / (lb + 0.05)
}

var white, black = rgb{255, 255, 255}, rgb{0, 0, 0}

// textOn returns white or black, whichever reads better on c. The better of the two is never below 4.58:1.
func textOn(c rgb) rgb {
	if contrast(c, white) >= contrast(c, black) {
		return white
	}
	return black
}

// toward mixes c with other until it contrasts with ground by at least ratio: an accent that disappears on a white or a dark
// ground is made darker or lighter and keeps its hue.
func (c rgb) toward(other, ground rgb, ratio float64) rgb {
	mix := func(a, b uint8, part int) uint8 { return uint8((int(a)*(20-part) + int(b)*part) / 20) }
	for part := range 21 {
		m := rgb{mix(c.r, other.r, part), mix(c.g, other.g, part), mix(c.b, other.b, part)}
		if contrast(m, ground) >= ratio {
			return m
		}
	}
	return other
}
