"""What would break is said before the first job.

``check``      the look at the nodes that are going to run: compile, bind (``lake.base.Session.bind``), report
``drafts``     from dbt.adapters.lakehouse.preflight.check import before_nodes as before_nodes
from dbt.adapters.lakehouse.preflight.check import look as look
from dbt.adapters.lakehouse.preflight.findings import Finding as Finding
from dbt.adapters.lakehouse.preflight.findings import Report as Report
