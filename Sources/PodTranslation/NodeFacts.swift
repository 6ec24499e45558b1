package import KubeModel

/// What translation must know of the node; nothing here comes from a pod.
package struct NodeFacts: Hashable, Sendable {
  package var nodeName: String
  /// Addresses of the node itself, what `status.hostIP` and pods on the host network show.
  package var hostIPs: [String] = []
  package var clusterDomain = "cluster.local"
  /// Addresses of the cluster's name server; empty: pods resolve as the node does.
  package var clusterDNS: [String] = []
  /// How the node itself resolves.
  package var hostDNS = DNSSettings()
  /// The directory below which each pod has its logs.
  package var logRoot = "/var/log/pods"
  /// Where this node keeps the seccomp profiles that pods name.
  package var seccompRoot = "/var/lib/martlet/seccomp"
  package var memoryCapacityBytes: Int64 = 0
  package var cpuCapacityMilli: Int64 = 0
  /// Below which cgroup pods are ranked by their quality of service, as `/kubepods/burstable/podUID`; empty: that of the
  /// hierarchy; nil: they are not ranked, and the runtime puts them where it likes.
  package var cgroupRoot: String?
  /// The ranks are slices of systemd, as `kubepods-burstable-podUID.slice`, which needs no root.
  package var usesSlices = false

  package init(nodeName: String) { self.nodeName = nodeName }
}

/// The contents of a resolv.conf.
package struct DNSSettings: Hashable, Sendable {
  package var servers: [String] = []
  package var searches: [String] = []
  package var options: [String] = []

  package init(servers: [String] = [], searches: [String] = [], options: [String] = []) {
    (self.servers, self.searches, self.options) = (servers, searches, options)
  }

  /// Reads resolv.conf text; lines that it does not know are no concern of pods.
  package init(resolvConf: String) {
    for line in resolvConf.split(separator: "\n") {
      let words = line.split { $0 == " " || $0 == "\t" }.map(String.init)
      guard let keyword = words.first, words.count > 1 else { continue }
      switch keyword {
      case "nameserver": servers.append(words[1])
      case "search": searches = Array(words.dropFirst())
      case "options": options += words.dropFirst()
      default: break
      }
    }
  }
}

/// What a pod is made from: ConfigMaps and Secrets of its namespace, by name, the Services that it sees as variables, its
/// tokens and its claims.
package struct PodObjects: Hashable, Sendable {
  package var configMaps: [String: ConfigMap] = [:]
  package var secrets: [String: Secret] = [:]
  package var services: [ServiceLink] = []
  /// Tokens of the pod's service account.
  package var tokens: [TokenKey: String] = [:]
  /// By the claim's name.
  package var claims: [String: ClaimPlace] = [:]

  package init(configMaps: [String: ConfigMap] = [:], secrets: [String: Secret] = [:], services: [ServiceLink] = []) {
    (self.configMaps, self.secrets, self.services) = (configMaps, secrets, services)
  }
}

/// A Service as its neighbours see it in their environment.
package struct ServiceLink: Hashable, Sendable {
  package var name: String
  package var clusterIP: String
  package var ports: [ServicePort]
  /// Shown to every pod of every namespace: the API itself.
  package var isForAll: Bool

  package init(name: String, clusterIP: String, ports: [ServicePort], isForAll: Bool = false) {
    (self.name, self.clusterIP, self.ports, self.isForAll) = (name, clusterIP, ports, isForAll)
  }
}

/// Why a pod or a container cannot be made now; `reason` is the word that Kubernetes shows for it.
package struct TranslationError: Error, Hashable, CustomStringConvertible {
  package let reason: String
  package let message: String

  package init(reason: String = "CreateContainerConfigError", _ message: String) {
    self.reason = reason
    self.message = message
  }

  package var description: String { "\(reason): \(message)" }
}
