package main

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// plots is a line of the page that wants a picture: the benchmark, the file beside the page, and the units that are drawn as bars.
var plots = regexp.MustCompile(`(?m)^<!-- plot (\S+) (\S+\.svg): (.+) -->$`)

// draw writes the pictures that a page wants of benchmarks that ran, beside the page.
func (r results) draw(page, text string) error {
	for _, m := range plots.FindAllStringSubmatch(text, -1) {
		rows := r.of[m[1]]
		if len(rows) == 0 {
			continue
		}
		picture := filepath.Join(filepath.Dir(page), filepath.Base(m[2]))
		if err := os.WriteFile(picture, []byte(bars(rows, strings.Fields(m[3]))), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// The picture's measures in pixels, and its colours, which can be told apart in grey too.
const (
	labelWidth, barWidth, barHeight, gap = 250, 420, 11, 12
)

var colors = []string{"#1b4965", "#5fa8d3", "#ca6702", "#94a187"}

// bars draws a group of bars for each row, one for each unit. All have one scale, from zero.
func bars(rows []result, units []string) string {
	most := 0.0
	for _, row := range rows {
		for _, u := range units {
			most = max(most, row.values[u])
		}
	}
	group := len(units)*barHeight + gap
	height := 40 + len(rows)*group
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", labelWidth+barWidth+60, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	for i, u := range units {
		x := labelWidth + i*110
		fmt.Fprintf(&b, `<rect x="%d" y="10" width="10" height="10" fill="%s"/><text x="%d" y="19">%s</text>`+"\n", x, colors[i%len(colors)], x+14, html.EscapeString(u))
	}
	for i, row := range rows {
		top := 36 + i*group
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", labelWidth-8, top+len(units)*barHeight/2+4,
			html.EscapeString(strings.ReplaceAll(row.name, "/", ", ")))
		for j, u := range units {
			v, y := row.values[u], top+j*barHeight
			width := 0.0
			if most > 0 {
				width = max(v, 0) / most * barWidth
			}
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/><text x="%.1f" y="%d" font-size="9">%s</text>`+"\n",
				labelWidth, y, width, barHeight-1, colors[j%len(colors)], labelWidth+width+4, y+barHeight-2, round(v))
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}
