/// Figures of the peers, recorded once on another machine of 2 cores with the client on it, too. For orientation in the text
/// tables: what is measured here is not measured beside them.
enum PeerFigures {
  /// kube-apiserver 1.36 with etcd 3.6, HTTPS.
  static let api: [String: String] = [
    "get1_per_s": "1650", "get1_p50_ms": "0.55", "get_cpu_us": "511",
    "get16_per_s": "4200", "get16_p50_ms": "3.3", "get16_p99_ms": "13", "get16_cpu_us": "333",
    "list500_per_s": "143", "list500_cpu_ms": "10.8", "list500_kb": "993",
    "list500_protobuf_per_s": "255", "list500_protobuf_cpu_ms": "5.9",
    "create_per_s": "2486", "update_per_s": "1854", "delete_per_s": "2204",
    "create_cpu_us": "609 + 196 of etcd", "update_cpu_us": "609 + 196 of etcd", "delete_cpu_us": "609 + 196 of etcd",
    "watch1_p50_ms": "2.0", "watch1_p99_ms": "4.7",
    "watch100_p50_ms": "3.3", "watch100_p99_ms": "6.6", "watch100_cpu_us": "41",
    "watch1000_p50_ms": "9.5", "watch1000_p99_ms": "24", "watch1000_cpu_us": "39",
    "rss_start_mb": "281 + 43 + 121 + 64", "rss_load_mb": "800 to 1000 (API server)",
  ]

  /// kube-apiserver, etcd, controller manager and scheduler; kubelet and kube-proxy; containerd.
  static let cluster: [String: String] = [
    "idle_rss_sum_mb": "281 + 43 + 121 + 64, 85 + 58, 43"
  ]
}
