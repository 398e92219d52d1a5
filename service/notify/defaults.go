package notify

import "time"

const (
	// lookEvery is how often the outbox is looked at: one small query, and nobody waits for a mail for less.
	lookEvery = 2 * time.Second
	// atOnce is how many events one look takes.
	atOnce = 20
	// lease is how long a claimed event is left alone by others: longer than its deliveries may take, so that only a process that died
	// makes a repetition.
	lease = 2 * time.Minute
	// deliverWithin bounds one delivery to one channel.
	deliverWithin = 20 * time.Second
	// firstPause and longestPause bound the backoff, which doubles; after keep an event is given up: by then nobody needs the news.
	firstPause   = 5 * time.Second
	longestPause = time.Hour
	keep         = 72 * time.Hour
	// maxWaiting bounds the events of a tenant that wait; of more, the oldest go.
	maxWaiting = 1000
	// maxText bounds each text of an event, in characters.
	maxText = 300
	// maxAnswer is what is read of a webhook's answer, so that its connection can be used again.
	maxAnswer = 4 << 10
	// maxRecipients bounds the addresses of one mail.
	maxRecipients = 50
)
