import CEL
import JSON
import KubeModel
import Logging
import ObjectStore
import Synchronization

/// The webhooks and policies of the store, read anew when one has changed.
final class PolicyRegistry: Sendable {
  struct State: Sendable {
    var revision: Int64 = -1
    var mutating: [Webhook] = []
    var validating: [Webhook] = []
    /// Those that cannot be read fail closed, unless they say otherwise.
    var policies: [String: Result<AdmissionPolicy, CELProblem>] = [:]
    var bindings: [PolicyBinding] = []
  }

  static let policies = "/validatingadmissionpolicies.admissionregistration.k8s.io/"
  static let bindings = "/validatingadmissionpolicybindings.admissionregistration.k8s.io/"
  static let mutating = "/mutatingwebhookconfigurations.admissionregistration.k8s.io/"
  static let validating = "/validatingwebhookconfigurations.admissionregistration.k8s.io/"

  private let store: ObjectStore
  private let logger: Logger
  private let state = Mutex(State())

  init(store: ObjectStore, logger: Logger) { (self.store, self.logger) = (store, logger) }

  /// As they are now.
  var current: State {
    let changed = store.lastChange(folders: [Self.policies, Self.bindings, Self.mutating, Self.validating])
    return state.withLock { state in
      if state.revision < changed || state.revision < 0 { state = read() }
      return state
    }
  }

  private func read() -> State {
    var state = State()
    let listing = store.list(prefix: Self.policies)
    state.revision = listing.revision
    for object in listing.objects {
      guard let document = try? JSONValue.parse(object.value) else { continue }
      let name = document["metadata"]?.text("name") ?? ""
      do throws(CELProblem) {
        state.policies[name] = .success(try AdmissionPolicy(document))
      } catch {
        logger.error("policy \(name): \(error); correct its expressions")
        state.policies[name] = .failure(error)
      }
    }
    for object in store.list(prefix: Self.bindings).objects {
      guard let document = try? JSONValue.parse(object.value) else { continue }
      state.bindings.append(PolicyBinding(document))
    }
    for object in store.list(prefix: Self.mutating).objects {
      state.mutating +=
        APIServer.decoded(object, as: MutatingWebhookConfiguration.self)?.webhooks.map { Webhook($0) } ?? []
    }
    for object in store.list(prefix: Self.validating).objects {
      state.validating +=
        APIServer.decoded(object, as: ValidatingWebhookConfiguration.self)?.webhooks.map { Webhook($0) } ?? []
    }
    return state
  }
}
