import KubePresentation
import KubeSchema
import Synchronization

/// The documents of discovery and schemas as they are now: those of the table, with those of the definitions.
final class DocumentShelf: Sendable {
  private let schema: Schema
  private let configuration: APIServerConfiguration
  private let custom: CustomResources
  private let ofTable: Documents
  private let latest = Mutex<(revision: Int64, documents: Documents)?>(nil)

  init(_ schema: Schema, _ configuration: APIServerConfiguration, _ custom: CustomResources) {
    (self.schema, self.configuration, self.custom) = (schema, configuration, custom)
    ofTable = Documents(schema, configuration)
  }

  var current: Documents {
    let state = custom.current
    if state.all.isEmpty { return ofTable }
    return latest.withLock { latest in
      if let latest, latest.revision == state.revision { return latest.documents }
      let rows = state.all.flatMap { $0.custom?.rows ?? [] }
      let made = Documents(
        schema, configuration, adding: rows, state.all.compactMap { $0.custom?.published }, beyond: ofTable)
      latest = (state.revision, made)
      return made
    }
  }
}
