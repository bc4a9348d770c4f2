"""What would break is said before the first job.

``check``      the look at the nodes that are going to run: compile, bind (``lake.base.Session.bind``), report
``compiling``  dbt's compiler, used before the run
``drafts``     from dbt's nodes to what each makes, of which SQL
``hooks``      what may prepare what nodes need
``lines``      from a line of compiled SQL to the user's
``unit_tests`` unit tests, compiled when the columns of what they stand on are known
``findings``   what was found
``stale``      what is going to be read and is stale
"""

from dbt.adapters.lakehouse.preflight.check import before_nodes as before_nodes
from dbt.adapters.lakehouse.preflight.check import look as look
from dbt.adapters.lakehouse.preflight.findings import Finding as Finding
from dbt.adapters.lakehouse.preflight.findings import Report as Report
from dbt.adapters.lakehouse.preflight.stale import warn_of_stale as warn_of_stale
