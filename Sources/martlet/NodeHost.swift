import Kernel
import NodeAgent

/// What the kernel says of this host.
enum HostFacts {
  /// Addresses of this network namespace that others may reach, IPv4 first.
  static func addresses() -> [String] {
    var found: [String] = []
    let routes = ((try? Files.readText("/proc/net/fib_trie")) ?? nil) ?? ""
    var last = ""
    for line in routes.split(separator: "\n") {
      let words = line.split(separator: " ")
      if words.first == "|--", words.count > 1 { last = String(words[1]) }
      if words.first == "/32", words.contains("LOCAL"), let address = IPAddress(last), !address.isLoopback,
        !found.contains(last)
      {
        found.append(last)
      }
    }
    let interfaces = ((try? Files.readText("/proc/net/if_inet6")) ?? nil) ?? ""
    for line in interfaces.split(separator: "\n") {
      let words = line.split(separator: " ")
      // Scope 00 is global; link and host addresses lead nowhere from a pod.
      guard words.count >= 6, words[3] == "00" else { continue }
      let digits = Array(words[0].utf8)
      let bytes = stride(from: 0, to: digits.count - 1, by: 2).compactMap {
        UInt8(String(decoding: digits[$0..<($0 + 2)], as: UTF8.self), radix: 16)
      }
      if let address = IPAddress(bytes: bytes) { found.append(address.description) }
    }
    return found
  }

  static func memoryBytes() -> Int64 {
    let text = ((try? Files.readText("/proc/meminfo")) ?? nil) ?? ""
    for line in text.split(separator: "\n") where line.hasPrefix("MemTotal:") {
      return (line.split(separator: " ").dropFirst().first.flatMap { Int64($0) } ?? 0) * 1024
    }
    return 0
  }

  static func cpus() -> Int64 {
    let text = ((try? Files.readText("/proc/stat")) ?? nil) ?? ""
    return Int64(text.split(separator: "\n").count { $0.hasPrefix("cpu") && !$0.hasPrefix("cpu ") })
  }

  /// One line of a file, without its end; empty where there is none.
  static func line(_ path: String) -> String {
    let text = ((try? Files.readText(path)) ?? nil) ?? ""
    return text.split(separator: "\n").first.map(String.init) ?? ""
  }

  /// As container images call it.
  static var architecture: String {
    #if arch(arm64)
      "arm64"
    #else
      "amd64"
    #endif
  }

  /// `PRETTY_NAME` of os-release.
  static func osImage() -> String {
    let text = ((try? Files.readText("/etc/os-release")) ?? nil) ?? ""
    for line in text.split(separator: "\n") where line.hasPrefix("PRETTY_NAME=") {
      return line.dropFirst("PRETTY_NAME=".count).filter { $0 != "\"" }
    }
    return "Linux"
  }
}
