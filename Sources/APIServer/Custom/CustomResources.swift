import JSON
import KubeModel
import KubeSchema
import Logging
import ObjectStore
import Synchronization

/// The resources that definitions in the store describe, made anew when one of those has changed.
package final class CustomResources: Sendable {
  struct State: Sendable {
    /// Of the store, when the definitions were read.
    var revision: Int64 = -1
    var byPath: [String: ServedResource] = [:]
    var all: [ServedResource] = []
  }

  private let store: ObjectStore
  private let schema: Schema
  private let logger: Logger
  private let state = Mutex(State())
  private let conversions = ConversionCache()

  init(store: ObjectStore, schema: Schema, logger: Logger) {
    (self.store, self.schema, self.logger) = (store, schema, logger)
  }

  /// As the definitions are now.
  var current: State {
    let changed = store.lastChange(folders: [CustomResource.definitionsPrefix])
    return state.withLock { state in
      if state.revision < changed || state.revision < 0 { state = read() }
      return state
    }
  }

  func resource(apiVersion: String, plural: String) -> ServedResource? { current.byPath["\(apiVersion)/\(plural)"] }

  private func read() -> State {
    var state = State()
    let listing = store.list(prefix: CustomResource.definitionsPrefix)
    state.revision = listing.revision
    for object in listing.objects {
      guard let document = try? JSONValue.parse(object.value) else { continue }
      guard CustomDefinitions.isEstablished(document) else { continue }
      for version in document["spec"]?["versions"]?.array ?? [] where version["served"]?.bool == true {
        do throws(StructuralProblem) {
          let resource = try CustomResource(document, version: version, conversions).served(schema)
          state.byPath["\(resource.type.apiVersion)/\(resource.type.plural)"] = resource
          state.all.append(resource)
        } catch {
          logger.error("serve(\(object.key)): \(error); correct the definition's schema")
        }
      }
    }
    return state
  }
}
