internal import CRIClient
internal import CRIModel
internal import KubeModel
internal import Logging
internal import PodTranslation

/// A token and the time of the pods' clock at which a younger one is asked for.
struct PodToken: Hashable, Sendable {
  var text: String
  var renewAt: Milliseconds
}

/// What an API server gives for a pod beside the pod.
protocol PodGoods: Sendable {
  /// A token of the pod's service account, bound to the pod.
  /// - Returns: it, and the seconds for which it is good.
  func token(_ key: TokenKey, for pod: Pod) async throws -> (text: String, seconds: Int64)
  /// Where a claim's volume is.
  func claim(_ name: String, for pod: Pod) async throws -> ClaimPlace
}

/// Of a pod of a manifest.
struct NoGoods: PodGoods {
  func token(_ key: TokenKey, for pod: Pod) async throws -> (text: String, seconds: Int64) {
    throw TranslationError(reason: "FailedMount", "there is no API server to ask for a token")
  }

  func claim(_ name: String, for pod: Pod) async throws -> ClaimPlace {
    throw TranslationError(reason: "FailedMount", "there is no API server to ask for claim \"\(name)\"")
  }
}

/// Tokens, claims and images of volumes.
extension PodWorker {
  /// A token is renewed when so much of its time, in percent, is over, and at the latest after so long.
  private static let tokenSharePercent: Int64 = 80
  private static let tokenMax: Milliseconds = 24 * 3_600_000
  /// Before a token that could not be renewed is asked for again.
  private var tokenRetry: Milliseconds { tools.backoff.first }

  /// What the pod is made from, tokens and claims included.
  var goods: PodObjects {
    var all = objects
    all.tokens = tokens.mapValues(\.text)
    all.claims = claims
    return all
  }

  /// Reads what is missing.
  func gather() async throws {
    for key in TokenKey.all(of: pod) where tokens[key] == nil { try await fetch(key) }
    for volume in pod.spec.volumes {
      guard let name = pod.claim(of: volume), claims[name] == nil else { continue }
      claims[name] = try await tools.goods.claim(name, for: pod)
    }
  }

  private func fetch(_ key: TokenKey) async throws {
    let (text, seconds) = try await tools.goods.token(key, for: pod)
    let life = min(seconds * 1000 / 100 * Self.tokenSharePercent, Self.tokenMax)
    tokens[key] = PodToken(text: text, renewAt: tools.now() + max(life, tokenRetry))
  }

  /// Keeps the pod's tokens young, until it is cancelled.
  func renewTokens() async {
    while !Task.isCancelled {
      let now = tools.now()
      let next = tokens.values.map(\.renewAt).min() ?? now + tokenRetry
      if next > now {
        try? await Task.sleep(for: .milliseconds(min(next - now, Self.tokenMax)))
        continue
      }
      var renewed = false
      // Of a pod that was taken over none is known: they are asked for like those that are old.
      let old = TokenKey.all(of: pod).filter { (tokens[$0]?.renewAt ?? 0) <= now }
      for key in old {
        do {
          try await fetch(key)
          renewed = true
        } catch {
          tools.logger.warning("pod \(self.key): token: \(error); asked again in \(tokenRetry) ms")
          tokens[key]?.renewAt = tools.now() + tokenRetry
        }
      }
      if renewed { await renewProjections() }
    }
  }

  /// The image of a volume, pulled by its policy.
  /// - Returns: how the runtime calls it.
  func imageVolume(_ name: String, _ reference: String) async throws -> String {
    let source = pod.spec.volumes.first { $0.name == name }?.image
    let tail = reference.split(separator: "/").last ?? ""
    let isLatest = !tail.contains("@") && (tail.hasSuffix(":latest") || !tail.contains(":"))
    let policy = source?.pullPolicy ?? (isLatest ? "Always" : "IfNotPresent")
    if policy != "Always" {
      let status = try await tools.runtime.imageStatus(reference, verbose: false)
      if status.hasImage { return status.image.id }
      if policy == "Never" {
        throw TranslationError(
          reason: "ErrImageNeverPull",
          "Container image \"\(reference)\" is not present with pull policy of Never")
      }
    }
    return try await tools.runtime.pullImage(
      reference, auth: credential(for: reference), sandboxConfig: translation.sandbox(attempt: 0))
  }
}
