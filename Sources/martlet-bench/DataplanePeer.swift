import Kernel

/// Rules of the shape that kube-proxy's nftables mode writes: a verdict map of services, a chain for each.
struct PeerRules {
  let services: Int
  let endpoints: Int
  let work: String

  func measure() async throws -> [(String, Double)] {
    let file = "\(work)/martlet-bench-peer-\(services).nft"
    defer { try? Files.remove(file) }
    var figures: [(String, Double)] = [("first_sync_ms", try await load(whole, file))]
    var added = Series()
    var changed = Series()
    for step in 0..<3 {
      added.add(try await load(chain(services + step) + element(services + step), file))
      changed.add(try await load("flush chain ip bench service-\(services / 3)\n" + rules(services / 3, step), file))
    }
    figures += [("add_service_ms", added.median), ("change_endpoint_ms", changed.median)]
    let target = "\(DataplaneLoad.endpoint(0)):\(DataplaneLoad.targetPort)"
    _ = try await load(
      """
      add chain ip bench datagrams
      add rule ip bench datagrams meta l4proto udp dnat to \(target)
      add element ip bench services { \(key(services / 2, "udp")) : goto datagrams }

      """, file)
    figures += try await Traffic.measure(DataplaneLoad.virtual(services / 2))
    return figures
  }

  private func load(_ rules: String, _ file: String) async throws -> Double {
    try Files.writeAtomically(file, Array(rules.utf8))
    return try await milliseconds {
      let outcome = try await ChildProcess.run(
        "/usr/sbin/nft", arguments: ["nft", "-f", file], environment: ["PATH=/usr/sbin:/usr/bin", "LC_ALL=C"], input: []
      )
      if outcome.status.code != 0 {
        throw BenchError("nft -f: \(String(decoding: outcome.errorOutput, as: UTF8.self).prefix(400))")
      }
    }
  }

  private func key(_ number: Int, _ transport: String = "tcp") -> String {
    "\(DataplaneLoad.virtual(number)) . \(transport) . 80"
  }

  private func chain(_ number: Int) -> String { "add chain ip bench service-\(number)\n" + rules(number, 0) }

  private func rules(_ number: Int, _ step: Int) -> String {
    let targets = (0..<endpoints).map {
      "\($0) : \(DataplaneLoad.endpoint($0)) . \(DataplaneLoad.targetPort + UInt16(step % 2 == 1 && $0 == 0 ? 1 : 0))"
    }
    let chain = "service-\(number)"
    return """
      add rule ip bench \(chain) ip daddr \(DataplaneLoad.virtual(number)) ip saddr != 10.88.0.0/16 jump to-masquerade
      add rule ip bench \(chain) meta l4proto { tcp, udp } dnat to numgen random mod \(endpoints) map { \(targets.joined(separator: ", ")) }

      """
  }

  private func element(_ number: Int) -> String {
    "add element ip bench services { \(key(number)) : goto service-\(number) }\n"
  }

  private var whole: String {
    var text = """
      table ip bench {
        map services { type ipv4_addr . inet_proto . inet_service : verdict; }
        chain to-masquerade { meta mark set meta mark or 0x4000; }
        chain services { ip daddr . meta l4proto . th dport vmap @services; }
        chain prerouting { type nat hook prerouting priority dstnat; jump services; }
        chain output { type nat hook output priority -100; jump services; }
        chain postrouting { type nat hook postrouting priority srcnat; meta mark and 0x4000 != 0 masquerade; }
      }

      """
    for number in 0..<services { text += chain(number) }
    text += "add element ip bench services { "
    text += (0..<services).map { "\(key($0)) : goto service-\($0)" }.joined(separator: ", ")
    return text + " }\n"
  }
}
