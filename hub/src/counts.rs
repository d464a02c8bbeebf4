//! What a hub counts.

/// Counts since the start; all of them only grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HubCounts {
    /// Datagrams that were heard.
    pub datagrams_heard: u64,
    /// Datagrams that were sent.
    pub datagrams_sent: u64,
    /// Bytes of frames that were sent.
    pub bytes_sent: u64,
    /// Bytes of frames that were sent for membership alone.
    pub swim_bytes_sent: u64,
    /// Frames that could not be read.
    pub frames_malformed: u64,
    /// Frames of a kind that this version does not know.
    pub frames_unknown: u64,
    /// Frames of somebody who is not a live member, other than those by which one becomes a member.
    pub frames_from_strangers: u64,
    /// Greetings of nodes that speak no version of the wire that this one does.
    pub hellos_refused: u64,
    /// Greetings of strangers that were not answered since too many came at once.
    pub hellos_unanswered: u64,
    /// Frames in datagrams that are for no run in particular, where only greetings and probes count: somebody may have recorded
    /// them.
    pub frames_unbound: u64,
    /// Probes that were heard.
    pub probes_heard: u64,
    /// Of them, those that were not answered: too many came at once, or they are smaller than their answer.
    pub probes_unanswered: u64,
    /// Datagrams of another process that has the same node id.
    pub twins_heard: u64,
    /// Members that came.
    pub members_joined: u64,
    /// Members that went, by themselves or since they were not heard.
    pub members_gone: u64,
    /// Members that were suspected since nothing was heard of them.
    pub members_doubted: u64,
    /// Members that there was no room for, this node among them.
    pub members_refused: u64,
    /// Times that this node found the cluster full and stayed alone.
    pub turned_away: u64,
    /// Times that a member was taken for dead and came back in the same run: it was not.
    pub false_deaths: u64,
    /// Times that this node was taken for dead and came back.
    pub rejoined: u64,
    /// Payloads that were told to a member.
    pub told: u64,
    /// Payloads that could not be told: the window is full, or the member is not one.
    pub told_refused: u64,
    /// Payloads that were told and not acknowledged when their member was given up.
    pub told_given_up: u64,
    /// Bundles of told payloads that were sent again.
    pub bundles_sent_again: u64,
    /// Bundles that came more than once.
    pub bundles_duplicate: u64,
    /// Payloads longer than a datagram has room for.
    pub payloads_too_long: u64,
    /// Payloads that were said to all.
    pub said: u64,
    /// Said payloads of others that were taken.
    pub said_heard: u64,
    /// Of them, those that another member gave because they had not come.
    pub said_repaired: u64,
    /// Said payloads that came more than once.
    pub said_duplicate: u64,
    /// Said payloads of others that never came and are no longer asked for.
    pub said_missed: u64,
    /// Payloads that there was no room for when they came.
    pub deliveries_refused: u64,
    /// Ranges of said payloads that were asked for.
    pub ranges_pulled: u64,
    /// Said payloads that were given to others that asked.
    pub pushed: u64,
    /// Ranges that were asked of this node and not given whole: the bound of what is given was reached.
    pub ranges_held_back: u64,
    /// Remembered payloads that went before their time: the bound of their bytes was reached.
    pub remembered_evicted: u64,
}
